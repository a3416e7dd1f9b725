"""TensorRT RTX: desktop GPUs, whose engines can be built ahead, on any machine.

`tensorrt_rtx` computes in fp32, `tensorrt_rtx:fp16` and so on in another precision, and
`tensorrt_rtx:fp16,prebuilt` refuses to build what is not in the cache.
"""

from __future__ import annotations

from vla_ros.engine.engine import EngineOptions, Graph
from vla_ros.engine.tensorrt.running import TensorRTEngine

LIBRARY = "tensorrt_rtx"


def load(graph: Graph, options: EngineOptions) -> TensorRTEngine:
    """Return an engine, from the cache or built now.

    Raises:
        EngineError: if the library, the GPU or its driver is missing, or the engine can neither
            be loaded nor built; says why.
    """
    return TensorRTEngine(graph, options, LIBRARY)
