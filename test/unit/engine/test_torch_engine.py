"""Torch as an engine: the modules that a bundle's graphs were exported from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vla_ros.core.errors import EngineError
from vla_ros.engine.backends.torch_engine import load
from vla_ros.engine.engine import Engine, EngineOptions, Graph
from vla_ros.learning.recipes import tabletop_small
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.deployed import (
    GROUND_INPUT_NAMES,
    example_ground_inputs,
    example_inputs,
    graph_inputs,
)
from vla_ros.testing.engine_conformance import EngineConformance, Inputs

CONFIG = tabletop_small()


class TestTorch(EngineConformance):
    backend = "torch"
    graph_name = "policy.onnx"
    names = graph_inputs(CONFIG)

    @pytest.fixture(autouse=True)
    def _take(self, untrained_bundle: Path) -> None:
        self.bundle = untrained_bundle

    def load(self, graph: Graph, options: EngineOptions) -> Engine:
        return load(graph, options)

    def make_graph(self, folder: Path) -> Graph:
        return Graph(path=self.bundle / self.graph_name, bundle=self.bundle)

    def make_inputs(self, batch: int, seed: int) -> Inputs:
        rows = [self.make_row(CONFIG, seed * 100 + row) for row in range(batch)]
        return {
            name: torch.cat(values).numpy()
            for name, values in zip(self.names, zip(*rows, strict=True), strict=True)
        }

    make_row: Callable[[PolicyConfig, int], tuple[Tensor, ...]] = staticmethod(example_inputs)


class TestTorchGrounding(TestTorch):
    graph_name = "grounding.onnx"
    names = GROUND_INPUT_NAMES
    make_row = staticmethod(example_ground_inputs)


@pytest.mark.gpu
class TestTorchCuda(TestTorch):
    argument = "cuda"


@pytest.mark.gpu
class TestTorchCudaGraphs(TestTorch):
    argument = "cuda-graphs"


@pytest.mark.gpu
class TestTorchGroundingCudaGraphs(TestTorchGrounding):
    argument = "cuda-graphs"


@pytest.mark.slow
@pytest.mark.timeout(600)
class TestTorchCompiled(TestTorch):
    argument = "compile"


def test_a_graph_without_weights_is_sent_to_a_backend_that_runs_graphs(
    untrained_bundle: Path,
) -> None:
    with pytest.raises(EngineError, match=r"policy\.onnx: torch computes.*onnxruntime"):
        load(Graph(path=untrained_bundle / "policy.onnx"), EngineOptions())


def test_a_graph_that_was_changed_after_the_export_is_refused(
    untrained_bundle: Path, tmp_path: Path
) -> None:
    other = tmp_path / "policy.onnx"
    other.write_bytes((untrained_bundle / "grounding.onnx").read_bytes())
    with pytest.raises(EngineError, match=r"is not what the weights in .* were exported to"):
        load(Graph(path=other, bundle=untrained_bundle), EngineOptions())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("argument", ["cuda", "cuda-graphs"])
def test_a_gpu_that_is_not_there_is_an_error_and_no_cpu(
    untrained_bundle: Path, argument: str
) -> None:
    graph = Graph(path=untrained_bundle / "policy.onnx", bundle=untrained_bundle)
    with pytest.raises(EngineError, match=rf"torch:{argument}: .* finds no NVIDIA GPU"):
        load(graph, EngineOptions(argument=argument))
