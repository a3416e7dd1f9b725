"""TensorRT and TensorRT RTX as engines: refused without a GPU, the conformance suite with one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vla_ros.core.errors import EngineError
from vla_ros.engine.backends import tensorrt_engine, tensorrt_rtx_engine
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.engine import Engine, EngineOptions, Graph
from vla_ros.engine.tensorrt.arguments import Request
from vla_ros.engine.tensorrt.gpu import find_gpu
from vla_ros.engine.tensorrt.library import load_library
from vla_ros.testing.engine_conformance import EngineConformance
from vla_ros.testing.small_graph import write_small_graph


def _gpu_is_there() -> bool:
    try:
        find_gpu()
    except EngineError:
        return False
    return True


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return Graph(path=write_small_graph(tmp_path / "small.onnx"))


@pytest.mark.skipif(_gpu_is_there(), reason="this machine has a GPU")
@pytest.mark.parametrize("argument", ["", "fp16", "fp16,prebuilt"])
def test_without_a_gpu_the_load_says_exactly_that(
    graph: Graph, tmp_path: Path, argument: str
) -> None:
    pytest.importorskip("tensorrt_rtx")
    with pytest.raises(EngineError, match="no NVIDIA GPU can be used in this machine: ") as caught:
        tensorrt_rtx_engine.load(graph, EngineOptions(argument=argument, cache=tmp_path / "cache"))
    assert "nvidia-smi" in str(caught.value)
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(_gpu_is_there(), reason="this machine has a GPU")
def test_without_a_gpu_a_fallback_takes_over_only_where_there_is_one(graph: Graph) -> None:
    pytest.importorskip("tensorrt_rtx")
    with pytest.raises(EngineError, match="tensorrt_rtx: no NVIDIA GPU"):
        open_engine(graph, EngineChoice.parse("tensorrt_rtx"))
    engine = open_engine(graph, EngineChoice.parse("tensorrt_rtx", "onnxruntime"))
    assert engine.describe().backend == "onnxruntime"
    engine.close()


@pytest.mark.parametrize(
    ("load", "module", "way_out"),
    [
        (tensorrt_engine.load, "tensorrt", "pip install tensorrt-cu12.*JetPack"),
        (tensorrt_rtx_engine.load, "tensorrt_rtx", "pip install tensorrt-rtx-cu12"),
    ],
    ids=["tensorrt", "tensorrt_rtx"],
)
def test_a_library_that_is_missing_is_named_with_the_way_to_get_it(
    load: Callable[[Graph, EngineOptions], Engine],
    module: str,
    way_out: str,
    graph: Graph,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # what Python does for one that is not there
    with pytest.raises(EngineError, match=rf"{module}: TensorRT.* cannot be imported.*{way_out}"):
        load(graph, EngineOptions())


def test_cuda_bindings_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(EngineError, match="pip install cuda-bindings"):
        find_gpu()


def test_a_library_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(EngineError, match="one of tensorrt, tensorrt_rtx, got 'tensorflow'"):
        load_library("tensorflow")


@pytest.mark.parametrize(
    ("argument", "precision", "prebuilt"),
    [
        ("", "fp32", False),
        ("fp16", "fp16", False),
        ("int8,prebuilt", "int8", True),
        ("prebuilt", "fp32", True),
        (" bf16 , prebuilt ", "bf16", True),
    ],
)
def test_an_argument_says_which_precision_and_whether_it_may_be_built(
    argument: str, precision: str, prebuilt: bool
) -> None:
    assert Request.parse("tensorrt", argument) == Request(
        library="tensorrt", precision=precision, prebuilt=prebuilt
    )


@pytest.mark.parametrize("argument", ["cray", "fp16,int8", "fp16,cray"])
def test_an_argument_that_means_nothing_is_refused_with_those_that_do(argument: str) -> None:
    with pytest.raises(EngineError, match=f"tensorrt:{argument}: expected one of fp32, fp16"):
        Request.parse("tensorrt", argument)


@pytest.mark.gpu
class TestTensorRTRTX(EngineConformance):
    backend = "tensorrt_rtx"

    @pytest.fixture(autouse=True)
    @staticmethod
    def library() -> None:
        pytest.importorskip("tensorrt_rtx")

    def load(self, graph: Graph, options: EngineOptions) -> Engine:
        return tensorrt_rtx_engine.load(graph, options)


@pytest.mark.gpu
class TestTensorRTRTXHalf(TestTensorRTRTX):
    argument = "fp16"
    tolerance = 0.01


@pytest.mark.gpu
class TestTensorRT(EngineConformance):
    backend = "tensorrt"

    @pytest.fixture(autouse=True)
    @staticmethod
    def library() -> None:
        pytest.importorskip("tensorrt")

    def load(self, graph: Graph, options: EngineOptions) -> Engine:
        return tensorrt_engine.load(graph, options)


@pytest.mark.gpu
class TestTensorRTHalf(TestTensorRT):
    argument = "fp16"
    tolerance = 0.01
