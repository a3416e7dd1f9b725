from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from vla_ros.core.errors import EngineError
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.engine import Graph
from vla_ros.engine.exporting.parity import compare
from vla_ros.engine.exporting.quantization import quantize

Rows = list[dict[str, np.ndarray]]


def fine(path: Path) -> float:
    del path
    return 0.0


def test_an_int8_graph_computes_nearly_the_same(
    convolutions: Path, images: Rows, tmp_path: Path
) -> None:
    made = tmp_path / "int8.onnx"
    quantize(convolutions, made, images, fine)
    engines = [open_engine(Graph(path=path), EngineChoice()) for path in (convolutions, made)]
    (found,) = compare(engines[0], engines[1], images)
    assert 0 < found.max_error < 0.1
    assert found.cosine > 0.995


def test_what_takes_the_results_of_convolutions_goes_along_and_maps_stay_exact(
    convolutions: Path, images: Rows, tmp_path: Path
) -> None:
    done = quantize(convolutions, tmp_path / "int8.onnx", images, fine)
    assert done.nodes == ("first", "bend", "second", "residual")
    assert list(done.kept) == ["last"]
    assert "2 maps" in done.kept["last"]
    assert done.rows == len(images)


def test_without_observations_int8_is_refused(convolutions: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"observations to calibrate with.*--calibration"):
        quantize(convolutions, tmp_path / "int8.onnx", [], fine)


def test_a_graph_without_large_convolutions_is_refused(
    convolutions: Path, images: Rows, tmp_path: Path
) -> None:
    model = onnx.load(convolutions)
    kept = [node for node in model.graph.node if node.name == "last"]
    kept[0].input[0] = "image"
    model.graph.initializer[2].CopyFrom(
        onnx.numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "w3")
    )
    del model.graph.node[:]
    model.graph.node.extend(kept)
    onnx.save(model, convolutions)
    with pytest.raises(EngineError, match="no convolution that int8 would make faster"):
        quantize(convolutions, tmp_path / "int8.onnx", images, fine)


def test_the_most_sensitive_convolution_goes_back_to_floating_point(
    convolutions: Path, images: Rows, tmp_path: Path
) -> None:
    """The judge finds every graph too far away in which the first convolution is quantized."""

    def judge(path: Path) -> float:
        graph = onnx.load(path).graph
        made = {output: node for node in graph.node for output in node.output}
        first = next(node for node in graph.node if node.name.startswith("first"))
        quantized = (
            made[first.input[0]].op_type == "DequantizeLinear"
            if (first.input[0] in made)
            else False
        )
        return 2.0 if quantized else 0.5

    done = quantize(convolutions, tmp_path / "int8.onnx", images, judge)
    assert "second" in done.nodes
    assert "first" not in done.nodes
    assert "sensitive" in done.kept["first"]


def test_for_tensorrt_activations_are_signed_and_symmetric(
    convolutions: Path, images: Rows, tmp_path: Path
) -> None:
    from vla_ros.engine.tensorrt.precision import read_typed

    made = tmp_path / "int8.onnx"
    quantize(convolutions, made, images, fine, symmetric=True)
    read_typed(made, "int8")  # refuses zero points
    quantize(convolutions, made, images, fine)
    with pytest.raises(EngineError, match="zero point"):
        read_typed(made, "int8")
