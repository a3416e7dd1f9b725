"""The remote engine against a real server of graphs, and against servers that misbehave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from vla_ros.engine.backends.remote_engine import load
from vla_ros.engine.engine import Engine, EngineDescription, EngineOptions, Graph
from vla_ros.testing.engine_conformance import EngineConformance
from vla_ros.testing.graph_server import GraphServer
from vla_ros.testing.small_graph import write_small_graph


class TestRemoteEngine(EngineConformance):
    backend = "remote"

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraphServer]:
        path = write_small_graph(tmp_path_factory.mktemp("served") / "small.onnx")
        with GraphServer([Graph(path=path)]) as server:
            cls.argument = f"{server.address}?deadline_ms=5000"
            yield server

    def load(self, graph: Graph, options: EngineOptions) -> Engine:
        return load(graph, options)

    def test_another_thread_may_ask_what_runs(self, engine: Engine) -> None:
        """It measures its round trip, so the notes change with every inference; no more does."""
        heard: list[EngineDescription] = []
        thread = threading.Thread(target=lambda: heard.append(engine.describe()))
        thread.start()
        engine.infer(self.make_inputs(1, seed=0))
        thread.join(10.0)
        (found,) = heard
        assert replace(found, notes={}) == replace(engine.describe(), notes={})
