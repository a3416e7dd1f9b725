"""TensorRT and TensorRT RTX: builds engines from graphs, keeps them, checks them, runs them.

The two libraries have nearly the same Python API; `library` says where they differ, and nothing
else here asks which of them it has. Building ahead for another GPU needs none in this machine.
"""
