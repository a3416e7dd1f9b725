"""A graph of a few operators, for tests of what runs graphs; made without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vla_ros.engine.engine import BATCH

#: Side of the image [px], numbers of the state, rows and joints of the chunk.
SIDE, STATE, ROWS, JOINTS = 8, 4, 5, 3
_FILTERS = 6


def write_small_graph(path: Path) -> Path:
    """Write a graph shaped like a policy, with the same weights each time.

    It takes `image` (batch, 8, 8, 3) uint8 and `state` (batch, 4) float32, and gives `chunk`
    (batch, 5, 3) and `progress` (batch,), both float32.
    """
    draw = np.random.default_rng(0)
    weights = {
        "filters": 0.3 * draw.standard_normal((_FILTERS, 3, 3, 3)),
        "scale": np.asarray(1 / 255.0),
        "mix": 0.5 * draw.standard_normal((_FILTERS + STATE, ROWS * JOINTS + 1)),
        "offset": draw.standard_normal(ROWS * JOINTS + 1),
    }
    lengths = {
        "rows": [0, ROWS, JOINTS],
        "split": [ROWS * JOINTS, 1],
        "middle": [2, 3],
        "last": [1],
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "filters"], ["seen"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["seen"], ["active"]),
        helper.make_node("ReduceMean", ["active", "middle"], ["features"], keepdims=0),
        helper.make_node("Concat", ["features", "state"], ["tokens"], axis=1),
        helper.make_node("MatMul", ["tokens", "mix"], ["mixed"]),
        helper.make_node("Add", ["mixed", "offset"], ["decided"]),
        helper.make_node("Split", ["decided", "split"], ["flat", "logit"], axis=1),
        helper.make_node("Reshape", ["flat", "rows"], ["chunk"]),
        helper.make_node("Squeeze", ["logit", "last"], ["flat_logit"]),
        helper.make_node("Sigmoid", ["flat_logit"], ["progress"]),
    ]
    constants = [
        *(
            numpy_helper.from_array(value.astype(np.float32), key)
            for key, value in weights.items()
        ),
        *(numpy_helper.from_array(np.asarray(value, np.int64), k) for k, value in lengths.items()),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [_tensor("image", TensorProto.UINT8, SIDE, SIDE, 3), _tensor("state", None, STATE)],
        [_tensor("chunk", None, ROWS, JOINTS), _tensor("progress", None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def small_graph_inputs(batch: int, seed: int) -> Mapping[str, NDArray[np.generic]]:
    """Return random inputs of that graph."""
    draw = np.random.default_rng(seed)
    return {
        "image": draw.integers(0, 256, (batch, SIDE, SIDE, 3), np.uint8),
        "state": draw.standard_normal((batch, STATE)).astype(np.float32),
    }


def _tensor(name: str, kind: int | None, *shape: int) -> onnx.ValueInfoProto:
    dtype = TensorProto.FLOAT if kind is None else kind
    return helper.make_tensor_value_info(name, dtype, [BATCH, *shape])
