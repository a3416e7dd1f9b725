"""Engines that are really built, for GPUs that are not here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vla_ros.core.errors import BundleError, EngineError
from vla_ros.core.resources import resource_path
from vla_ros.engine.engine import BATCH, Graph
from vla_ros.engine.tensorrt.ahead_of_time import CAPABILITIES, build_ahead
from vla_ros.engine.tensorrt.building import BuiltEngine, build_engine
from vla_ros.engine.tensorrt.library import load_library
from vla_ros.engine.tensorrt.metadata import check_engine, read_metadata
from vla_ros.engine.tensorrt.plan import read_header
from vla_ros.engine.tensorrt.precision import precision_of, write_typed
from vla_ros.policy.bundle import file_sha256
from vla_ros.policy.graph_origin import forget_origin
from vla_ros.testing.small_graph import small_graph_inputs, write_small_graph

trt = pytest.importorskip("tensorrt_rtx")

BUNDLE = resource_path("models/tabletop-small")
Build = Callable[..., BuiltEngine]


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return Graph(path=write_small_graph(tmp_path / "small.onnx"))


@pytest.fixture
def build(graph: Graph, tmp_path: Path) -> Build:
    def build_(graph: Graph = graph, **options: object) -> BuiltEngine:
        options = {
            "library": "tensorrt_rtx",
            "precision": "fp32",
            "compute_capability": "SM86",
            "output": tmp_path / "engines",
            **options,
        }
        return build_engine(graph, **options)  # type: ignore[arg-type]

    return build_


@pytest.fixture(scope="module")
def ahead(tmp_path_factory: pytest.TempPathFactory) -> list[BuiltEngine]:
    return build_ahead(BUNDLE, output=tmp_path_factory.mktemp("ahead"))


def test_the_shipped_bundle_is_built_for_three_generations_with_no_gpu(
    ahead: list[BuiltEngine],
) -> None:
    assert [(built.metadata.key.graph, built.metadata.key.device) for built in ahead] == [
        (graph, device) for graph in ("grounding", "policy") for device in CAPABILITIES
    ]
    for built in ahead:
        graph = BUNDLE / f"{built.metadata.key.graph}.onnx"
        known = check_engine(built.path, built.metadata.key)
        assert known == built.metadata
        assert known.engine_sha256 == file_sha256(built.path)
        assert known.engine_bytes == built.path.stat().st_size > 1_000_000
        assert known.bundle_sha256 == file_sha256(BUNDLE / "bundle.json")
        assert known.key.graph_sha256 == file_sha256(graph)
        assert known.key.version == trt.__version__
        session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        for specs, items in (
            (known.inputs, session.get_inputs()),
            (known.outputs, session.get_outputs()),
        ):
            assert {spec.name: spec.shape for spec in specs} == {
                item.name: tuple(1 if size == BATCH else size for size in item.shape)
                for item in items
            }


def test_the_file_itself_says_for_which_gpu_and_by_which_version_it_was_built(
    ahead: list[BuiltEngine],
) -> None:
    for built in ahead:
        header = read_header(built.path)
        assert header is not None
        assert header.version == trt.__version__
        assert header.length == built.path.stat().st_size
        assert header.capabilities == (built.metadata.key.device,)


def test_the_first_bytes_name_every_capability_for_which_the_library_builds(build: Build) -> None:
    capabilities = load_library("tensorrt_rtx").capabilities
    assert set(CAPABILITIES) < set(capabilities)
    for capability in capabilities:
        if capability == "SM75":  # has no fp32 matrix products: see below
            continue
        header = read_header(build(compute_capability=capability).path)
        assert header is not None
        assert header.capabilities == (capability,)


def test_the_library_takes_its_engine_for_one_and_a_changed_header_for_none(
    build: Build,
) -> None:
    plan = build().path.read_bytes()
    runtime = trt.Runtime(load_library("tensorrt_rtx").log())
    malformed = int(trt.EngineInvalidityDiagnostics.MALFORMED_ENGINE)
    _, found = runtime.get_engine_validity(plan)
    assert not found & malformed
    _, found = runtime.get_engine_validity(bytes([plan[0] ^ 1]) + plan[1:])
    assert found & malformed
    _, found = runtime.get_engine_validity(plan[: runtime.engine_header_size // 2])
    assert found & malformed


def test_the_metadata_beside_the_engine_can_be_read_by_people(build: Build, graph: Graph) -> None:
    built = build(most=4, precision="fp16")
    assert built.path.name == (
        f"small-{graph.sha256[:12]}.tensorrt_rtx-{trt.__version__}.SM86.fp16.b1-4.engine"
    )
    text = json.loads(built.path.with_name(built.path.name + ".json").read_text())
    assert text["key"]["device"] == "SM86"
    assert text["key"]["precision"] == "fp16"
    assert text["profile"] == {
        "image": [[1, 8, 8, 3], [4, 8, 8, 3]],
        "state": [[1, 4], [4, 4]],
    }
    assert read_metadata(built.path) == built.metadata


def test_a_range_of_robots_leaves_the_batch_open_and_one_number_fixes_it(build: Build) -> None:
    shapes = {spec.name: spec.shape for spec in build(fewest=1, most=8).metadata.inputs}
    assert shapes == {"image": (BATCH, 8, 8, 3), "state": (BATCH, 4)}
    shapes = {spec.name: spec.shape for spec in build(fewest=3, most=3).metadata.inputs}
    assert shapes == {"image": (3, 8, 8, 3), "state": (3, 4)}
    with pytest.raises(EngineError, match="1 <= fewest <= most, got 2 and 1"):
        build(fewest=2, most=1)


def test_progress_is_told_from_beginning_to_end(build: Build) -> None:
    heard: list[str] = []
    built = build(progress=heard.append)
    assert heard[0] == f"small.onnx: TensorRT RTX {trt.__version__} builds it in fp32 for SM86"
    assert any(text.startswith("small.onnx: Building engine: ") for text in heard)
    assert heard[-1].startswith(f"{built.path.name}: ")


def test_nothing_half_written_is_left_behind(build: Build) -> None:
    built = build()
    assert sorted(path.name for path in built.path.parent.iterdir()) == [
        built.path.name,
        built.path.name + ".json",
    ]


def test_every_unsupported_operator_is_named_with_its_node_and_module(
    build: Build, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")

    class Volume(torch.nn.Module):  # type: ignore[name-defined, misc]
        def forward(self, x: object) -> object:
            return torch.linalg.det(x)

    class Net(torch.nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Linear(4, 4)
            self.heads = torch.nn.ModuleDict({"volume": Volume(), "again": Volume()})

        def forward(self, x: object) -> object:
            seen = self.body(x)
            return self.heads["volume"](seen) + self.heads["again"](seen + 1)

    path = tmp_path / "odd.onnx"
    program = torch.onnx.export(Net().eval(), (torch.ones(1, 4, 4),), dynamo=True, verbose=False)
    program.save(str(path), external_data=False)
    model = onnx.load(str(path))
    forget_origin(model)  # as every exported bundle
    onnx.save(model, str(path))
    names = [node.name for node in model.graph.node if node.op_type == "Det"]
    assert len(names) == 2
    with pytest.raises(EngineError) as caught:
        build(Graph(path=path))
    text = str(caught.value)
    assert text.startswith(f"{path}: TensorRT RTX {trt.__version__} cannot run it: ")
    for name, module in zip(names, ("heads.volume", "heads.again"), strict=True):
        assert f"operator Det (node '{name}', module '{module}'): is not supported" in text


def test_an_operator_that_nobody_knows_is_named_without_a_module(
    build: Build, tmp_path: Path
) -> None:
    graph = helper.make_graph(
        [helper.make_node("Warp", ["x"], ["y"], name="the_warp", domain="com.acme")],
        "warp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("com.acme", 1)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=9), tmp_path / "warp.onnx")
    with pytest.raises(EngineError, match=r"operator Warp \(node 'the_warp'\): .*Plugin not foun"):
        build(Graph(path=tmp_path / "warp.onnx"))


def test_what_a_gpu_cannot_do_is_said_with_the_module(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"for SM75: .*\(module 'policy\.imu_embed\.5'\).*FP32"):
        build_engine(
            Graph(path=BUNDLE / "policy.onnx"),
            library="tensorrt_rtx",
            precision="fp32",
            compute_capability="SM75",
            output=tmp_path,
        )


def test_a_gpu_for_which_the_library_does_not_build_is_refused_with_those_for_which_it_does(
    build: Build,
) -> None:
    with pytest.raises(EngineError, match=r"builds for SM75, .*SM121, not for SM87; Jetson"):
        build(compute_capability="SM87")


def test_only_the_batch_may_be_open(build: Build, tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["words"], ["y"])],
        "open",
        [helper.make_tensor_value_info("words", TensorProto.FLOAT, [1, "length"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "length"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "open.onnx")
    with pytest.raises(EngineError, match=r"input words has the shape \(1, -1\); only its first"):
        build(Graph(path=tmp_path / "open.onnx"))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_sixteen_bits_are_built_and_stay_near_the_graph(
    build: Build, graph: Graph, tmp_path: Path, precision: str
) -> None:
    (tmp_path / "typed").mkdir()
    assert build(precision=precision).metadata.key.precision == precision
    path, typed = write_typed(graph.path, precision, tmp_path / "typed")
    assert precision_of(typed) == precision
    if precision == "bf16":
        return  # neither ONNX before opset 22 nor ONNX Runtime's CPU knows it: only built
    onnx.checker.check_model(typed, full_check=True)
    inputs = small_graph_inputs(1, seed=3)
    for found, wanted in zip(_run(path, inputs), _run(graph.path, inputs), strict=True):
        assert 0 < np.abs(found - wanted).max() <= 2e-3 * max(1.0, np.abs(wanted).max())


def test_a_weight_too_large_for_sixteen_bits_stays_as_it_is(graph: Graph, tmp_path: Path) -> None:
    model = onnx.load(str(graph.path))
    mix = next(tensor for tensor in model.graph.initializer if tensor.name == "mix")
    large = numpy_helper.to_array(mix).copy()
    large[0, 0] = 1e6
    mix.CopyFrom(numpy_helper.from_array(large, "mix"))
    onnx.save(model, str(graph.path))
    _, half = write_typed(graph.path, "fp16", tmp_path)
    kept = {tensor.name: tensor for tensor in half.graph.initializer}
    assert kept["mix"].data_type == TensorProto.FLOAT
    assert kept["filters.fp16"].data_type == TensorProto.FLOAT16
    _, brain = write_typed(graph.path, "bf16", tmp_path)
    assert {"mix.bf16", "filters.bf16"} <= {tensor.name for tensor in brain.graph.initializer}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_weights_in_a_file_of_their_own_are_built_in_and_count_for_what_the_engine_is(
    build: Build, graph: Graph, tmp_path: Path, precision: str
) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    onnx.save(
        onnx.load(str(graph.path)),
        str(folder / "small.onnx"),
        save_as_external_data=True,
        location="weights",
        size_threshold=0,
    )
    large = Graph(path=folder / "small.onnx")
    first = build(large, precision=precision)
    assert first.metadata.engine_bytes == pytest.approx(
        build(precision=precision).metadata.engine_bytes, rel=0.01
    )
    weights = np.fromfile(folder / "weights", np.uint8)
    weights[3] ^= 1
    weights.tofile(folder / "weights")
    second = build(large, precision=precision)
    assert second.metadata.key != first.metadata.key
    (folder / "weights").unlink()
    with pytest.raises(EngineError, match=r"small\.onnx: cannot be read: .*weights"):
        build(large)


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_eight_bits_without_calibration_are_refused(build: Build, precision: str) -> None:
    with pytest.raises(EngineError, match=f"is a graph in fp32; {precision} wants one with scale"):
        build(precision=precision)


def test_a_calibrated_int8_graph_is_built_in_int8_and_in_nothing_else(
    build: Build, tmp_path: Path
) -> None:
    path = _write_quantized(tmp_path / "int8.onnx", np.dtype(np.int8))
    assert build(Graph(path=path), precision="int8").metadata.key.precision == "int8"
    with pytest.raises(EngineError, match="is a graph in int8, and cannot be run in fp16"):
        build(Graph(path=path), precision="fp16")


def test_int8_with_a_zero_point_is_refused_at_its_node(build: Build, tmp_path: Path) -> None:
    path = _write_quantized(tmp_path / "int8.onnx", np.dtype(np.int8), zero=3)
    with pytest.raises(EngineError, match="QuantizeLinear 'quantize' has a zero point"):
        build(Graph(path=path), precision="int8")


def test_a_calibrated_fp8_graph_is_built_where_the_gpu_has_fp8(
    build: Build, tmp_path: Path
) -> None:
    import ml_dtypes

    path = _write_quantized(tmp_path / "fp8.onnx", np.dtype(ml_dtypes.float8_e4m3fn))
    built = build(Graph(path=path), precision="fp8", compute_capability="SM89")
    assert built.metadata.key.precision == "fp8"
    with pytest.raises(EngineError, match=r"cannot build it for SM86: .*fp8"):
        build(Graph(path=path), precision="fp8", compute_capability="SM86")


def test_a_precision_that_does_not_exist_is_refused_with_those_that_do(build: Build) -> None:
    with pytest.raises(EngineError, match="one of fp32, fp16, bf16, int8, fp8, got 'fp12'"):
        build(precision="fp12")


@pytest.mark.parametrize("content", [b"", b"this is no graph\n" * 9])
def test_a_file_that_is_no_graph_is_named(build: Build, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.onnx").write_bytes(content)
    with pytest.raises(EngineError, match=r"broken\.onnx"):
        build(Graph(path=tmp_path / "broken.onnx"))


def test_a_graph_that_is_not_there_is_named(build: Build, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"gone\.onnx: cannot be read"):
        build(Graph(path=tmp_path / "gone.onnx"))


def test_a_bundle_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is missing"):
        build_ahead(tmp_path, output=tmp_path / "engines")


def test_a_file_whose_first_bytes_say_another_gpu_is_refused(build: Build) -> None:
    built = build(compute_capability="SM89")
    key = replace(built.metadata.key, device="SM120")
    replace(built.metadata, key=key).write(built.path)  # somebody edits the metadata
    with pytest.raises(EngineError, match="is for SM89, not for SM120"):
        check_engine(built.path, key)


def _run(path: Path, inputs: object) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


def _write_quantized(path: Path, dtype: np.dtype[np.generic], zero: int = 0) -> Path:
    """Write a product of matrices whose factors are quantized, as calibration leaves it."""
    weight = (0.1 * np.random.default_rng(0).standard_normal((64, 64)) * 40).astype(dtype)
    constants = [
        numpy_helper.from_array(np.asarray(0.02, np.float32), "scale"),
        numpy_helper.from_array(np.asarray(zero, np.float32).astype(dtype), "zero"),
        numpy_helper.from_array(np.zeros((), np.float32).astype(dtype), "weight_zero"),
        numpy_helper.from_array(weight, "weight"),
    ]
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="quantize"),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["a"]),
            helper.make_node("DequantizeLinear", ["weight", "scale", "weight_zero"], ["b"]),
            helper.make_node("MatMul", ["a", "b"], ["y"]),
        ],
        "quantized",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [BATCH, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [BATCH, 64])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.save(model, path)
    return path
