"""Runs a bundle: the language encoder and the policy, with ONNX Runtime and no torch."""
