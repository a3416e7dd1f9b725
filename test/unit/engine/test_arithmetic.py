"""Counting what a graph computes, against what is known of small graphs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vla_ros.core.errors import EngineError
from vla_ros.core.resources import resource_path
from vla_ros.engine.arithmetic import FLOPS, MOVING, Arithmetic, count_arithmetic


def stored(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


def counted(
    folder: Path,
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    taken: list[int | str],
    made: list[int | str],
) -> Arithmetic:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, taken)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, made)],
        weights,
    )
    path = folder / "small.onnx"
    known = [helper.make_opsetid("", 20), helper.make_opsetid("elsewhere", 1)]
    onnx.save(helper.make_model(graph, opset_imports=known), path)
    return count_arithmetic(path)


def test_a_matrix_product_takes_two_operations_per_weight_and_row(tmp_path: Path) -> None:
    found = counted(
        tmp_path,
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [stored("w", 7, 5)],
        [3, 7],
        [3, 5],
    )
    assert found.flops == 2 * 3 * 7 * 5
    assert (found.parameters, found.parameter_bytes) == (35, 140)
    assert found.in_out_bytes == 4 * (3 * 7 + 3 * 5)
    assert found.other == 0


def test_a_product_of_something_turned_counts_the_same(tmp_path: Path) -> None:
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transA=1, transB=1)
    found = counted(tmp_path, [node], [stored("w", 5, 7)], [7, 3], [3, 5])
    assert found.flops == 2 * 3 * 7 * 5


@pytest.mark.parametrize("group", [1, 4])
def test_a_convolution_takes_its_kernel_at_every_place(tmp_path: Path, group: int) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2], group=group, pads=[1] * 4)
    weights = [stored("w", 8, 4 // group, 3, 3)]
    found = counted(tmp_path, [node], weights, [1, 4, 16, 16], [1, 8, 8, 8])
    assert found.flops == 2 * (8 * 8 * 8) * (4 // group) * 9


def test_other_operators_count_one_per_value_and_moving_none(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[1, 0]),
        helper.make_node("Tanh", ["b"], ["y"]),
    ]
    found = counted(tmp_path, nodes, [], [3, 4], [4, 3])
    assert (found.flops, found.other) == (0, 24)


def test_an_open_dimension_counts_as_one(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    found = counted(tmp_path, [node], [stored("w", 7, 5)], ["batch", 7], ["batch", 5])
    assert found.flops == 2 * 7 * 5


def test_a_product_of_unknown_shape_is_told_and_not_guessed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Unknown", ["x"], ["a"], domain="elsewhere"),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    found = counted(tmp_path, nodes, [stored("w", 7, 5)], [3, 7], [3, 5])
    assert found.flops == 0
    assert found.uncounted == {"MatMul": 1}


def test_all_of_the_shipped_graphs_is_counted() -> None:
    for name in ("policy", "grounding"):
        found = count_arithmetic(resource_path(f"models/tabletop-small/{name}.onnx"))
        assert not found.uncounted
        assert 1e8 < found.flops < 1e10
        assert found.parameters > 1e6


def test_no_operator_is_counted_twice() -> None:
    assert not MOVING & set(FLOPS)


def test_a_file_that_is_no_graph_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(EngineError, match=r"broken\.onnx: onnx cannot read it"):
        count_arithmetic(path)


def test_without_onnx_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EngineError, match="pip install onnx"):
        count_arithmetic(tmp_path / "any.onnx")
