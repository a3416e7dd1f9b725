"""TensorRT: Jetson and data-centre GPUs, whose engines are built on the device.

`tensorrt` computes in fp32, `tensorrt:fp16` and so on in another precision, and
`tensorrt:fp16,prebuilt` refuses to build what is not in the cache.
"""

from __future__ import annotations

from vla_ros.engine.engine import EngineOptions, Graph
from vla_ros.engine.tensorrt.running import TensorRTEngine

LIBRARY = "tensorrt"


def load(graph: Graph, options: EngineOptions) -> TensorRTEngine:
    """Return an engine, from the cache or built now.

    Raises:
        EngineError: if the library, the GPU or its driver is missing, or the engine can neither
            be loaded nor built; says why.
    """
    return TensorRTEngine(graph, options, LIBRARY)
