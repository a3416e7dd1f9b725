"""TensorRT and TensorRT RTX as engines: refused without a GPU, the conformance suite with one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from vla_ros.core.errors import EngineError, InferenceFailed
from vla_ros.engine.backends import tensorrt_engine, tensorrt_rtx_engine
from vla_ros.engine.choice import EngineChoice, load_backend, open_engine
from vla_ros.engine.engine import Engine, EngineOptions, Graph
from vla_ros.engine.tensorrt.arguments import Request
from vla_ros.engine.tensorrt.gpu import find_gpu
from vla_ros.engine.tensorrt.library import load_library
from vla_ros.testing.engine_conformance import EngineConformance
from vla_ros.testing.small_graph import write_small_graph
from vla_ros.testing.stand_in_gpu import StandInCuda, StandInLibrary

#: So often the same that it is captured, then another number, which must not be replayed.
REPEATED = (1, 1, 3, 3, 2)


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
        (tensorrt_engine.load, "tensorrt", "pip install tensorrt-cu13.*JetPack"),
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


class StandInConformance(EngineConformance):
    """The suite on a GPU that is played, and what only that can be asked."""

    hidden: tuple[str, ...] = ()
    rows = REPEATED

    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        pytest.importorskip("tensorrt_rtx")
        self.cuda = StandInCuda()
        self.library = StandInLibrary(self.cuda, hidden=self.hidden)
        monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", self.cuda)
        monkeypatch.setitem(sys.modules, self.backend, self.library)
        yield
        assert self.cuda.held == 0, "memory or streams were not given back"

    def load(self, graph: Graph, options: EngineOptions) -> Engine:
        self.library.graph = graph.path
        return load_backend(self.backend)(graph, options)

    # Of the base class, but here it ends before `machine` does and looks what is still held.
    @pytest.fixture
    def open_engine(
        self, graph: Graph, cache: Path, machine: None
    ) -> Iterator[Callable[..., Engine]]:
        opened: list[Engine] = []

        def open_(graph: Graph = graph, **options: Any) -> Engine:
            options.setdefault("argument", self.argument)
            opened.append(self.load(graph, EngineOptions(cache=cache, **options)))
            return opened[-1]

        yield open_
        for engine in opened:
            engine.close()

    def test_the_gpu_is_described_and_the_engine_named(self, engine: Engine) -> None:
        found = engine.describe()
        assert found.device == "Stand-in (SM86)"
        assert found.notes["cuda"] == "12.8"
        assert found.notes["engine"].endswith(".fp32.b1.engine")

    def test_more_robots_than_it_was_built_for_are_refused(
        self, open_engine: Callable[..., Engine]
    ) -> None:
        engine = open_engine(batch=None)
        with pytest.raises(ValueError, match="1 to 32; got image 33, state 33"):
            engine.infer(self.make_inputs(33, seed=0))

    def test_tensors_whose_first_dimension_is_no_robots_come_whole(
        self, tmp_path: Path, open_engine: Callable[..., Engine]
    ) -> None:
        kind = TensorProto.FLOAT
        nodes = [helper.make_node("Mul", ["points", "gain"], ["scaled"])]
        inputs = [
            helper.make_tensor_value_info("points", kind, [5, 3]),
            helper.make_tensor_value_info("gain", kind, [1, 3]),
        ]
        outputs = [helper.make_tensor_value_info("scaled", kind, [5, 3])]
        made = helper.make_graph(nodes, "scaling", inputs, outputs)
        opset = [helper.make_opsetid("", 18)]
        path = tmp_path / "scaling.onnx"
        onnx.save(helper.make_model(made, opset_imports=opset, ir_version=9), path)
        points = np.arange(15, dtype=np.float32).reshape(5, 3)
        gain = np.full((1, 3), 2, np.float32)
        engine = open_engine(Graph(path=path))
        for _ in range(3):
            found = engine.infer({"points": points, "gain": gain})
            np.testing.assert_array_equal(found["scaled"], 2 * points)

    def test_what_was_built_once_is_found_the_next_time(
        self, open_engine: Callable[..., Engine]
    ) -> None:
        open_engine()
        heard: list[str] = []
        open_engine(argument="prebuilt", progress=heard.append)
        assert heard == []

    def test_an_engine_that_the_library_does_not_load_is_refused_and_nothing_is_held(
        self, graph: Graph, cache: Path
    ) -> None:
        with pytest.raises(EngineError, match="cannot load it on Stand-in: this is no engine"):
            load_backend(self.backend)(graph, EngineOptions(cache=cache))

    def test_a_gpu_that_fails_brings_nothing_and_says_why(self, engine: Engine) -> None:
        inputs = self.make_inputs(1, seed=0)
        engine.infer(inputs)

        def fail(stream: object) -> tuple[object]:
            return (self.cuda.cudaError_t.cudaErrorIllegalAddress,)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(self.cuda, "cudaStreamSynchronize", fail)
            with pytest.raises(InferenceFailed, match=r"Stand-in: cudaStream.*illegal memory"):
                engine.infer(inputs)
        self.cuda.cudaStreamSynchronize(self.cuda.stream(0x1000))


class TestOnAStandInThatCompiles(StandInConformance):
    """TensorRT RTX: kernels are compiled where it is loaded, CUDA graphs are its own."""

    backend = "tensorrt_rtx"

    def test_kernels_that_were_compiled_are_handed_back(
        self, open_engine: Callable[..., Engine]
    ) -> None:
        open_engine().warm_up()
        before = len(self.library.reused)
        open_engine()
        assert self.library.reused[before:] == [b"kernels"]

    def test_cuda_graphs_are_left_to_the_library(self, engine: Engine) -> None:
        for _ in range(4):
            engine.infer(self.make_inputs(1, seed=0))
        assert self.cuda.replayed == 0
        assert engine.describe().notes["cuda_graphs"] == "left to the library"


class TestOnAStandInThatIsCaptured(StandInConformance):
    """TensorRT: what is put on the stream is captured, and replayed from the second time on."""

    backend = "tensorrt"
    hidden = ("CudaGraphStrategy", "IRuntimeCache", "ComputeCapability")

    def test_inferences_are_captured_once_and_replayed(self, engine: Engine) -> None:
        for seed in range(5):
            engine.infer(self.make_inputs(1, seed))
        assert self.cuda.replayed == 4
        assert engine.describe().notes["cuda_graphs"] == "used"

    def test_where_nothing_can_be_captured_it_goes_on_without_and_says_so(
        self, engine: Engine, reference: onnxruntime.InferenceSession
    ) -> None:
        self.cuda.refuses_captures = True
        for seed in range(3):
            inputs = self.make_inputs(1, seed)
            found = engine.infer(inputs)
            np.testing.assert_allclose(
                found["chunk"], reference.run(["chunk"], dict(inputs))[0], rtol=1e-5
            )
        assert self.cuda.replayed == 0
        assert "cudaStreamEndCapture" in engine.describe().notes["cuda_graphs"]


@pytest.mark.gpu
class TestTensorRTRTX(EngineConformance):
    backend = "tensorrt_rtx"
    rows = REPEATED

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
    rows = REPEATED

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
