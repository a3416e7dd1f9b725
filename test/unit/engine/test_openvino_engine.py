"""OpenVINO as an engine."""

from __future__ import annotations

from vla_ros.engine.backends.openvino_engine import load
from vla_ros.engine.engine import Engine, EngineOptions, Graph
from vla_ros.testing.engine_conformance import EngineConformance


class TestOpenVino(EngineConformance):
    backend = "openvino"

    def load(self, graph: Graph, options: EngineOptions) -> Engine:
        return load(graph, options)


class TestOpenVinoBfloat16(TestOpenVino):
    argument = "bf16"
    tolerance = 0.03
