"""ONNX Runtime as an engine."""

from __future__ import annotations

from vla_ros.engine.backends.onnxruntime_engine import load
from vla_ros.engine.engine import Engine, EngineOptions, Graph
from vla_ros.testing.engine_conformance import EngineConformance


class TestOnnxRuntime(EngineConformance):
    backend = "onnxruntime"

    def load(self, graph: Graph, options: EngineOptions) -> Engine:
        return load(graph, options)


class TestOnnxRuntimeWithTwoThreads(TestOnnxRuntime):
    threads = 2
