"""A small graph of convolutions, and inputs for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vla_ros.engine.engine import BATCH
from vla_ros.policy.graph_origin import MODULE

Rows = list[dict[str, np.ndarray]]


@pytest.fixture
def convolutions(tmp_path: Path) -> Path:
    """Three convolutions: two of 16 channels, and one that makes two maps."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": 0.2 * rng.standard_normal((16, 3, 3, 3)),
        "w2": 0.1 * rng.standard_normal((16, 16, 3, 3)),
        "w3": 0.1 * rng.standard_normal((2, 16, 1, 1)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="bend"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="second", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "r1"], ["sum"], name="residual"),
        helper.make_node("Conv", ["sum", "w3"], ["maps"], name="last"),
    ]
    for node in nodes:
        node.metadata_props.add(key=MODULE, value=f"['', 'eyes.{node.name}', '{node.name}_1']")
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [BATCH, 3, 16, 16])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, [BATCH, 2, 16, 16])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = tmp_path / "small.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def images() -> Rows:
    """A dozen inputs of the small graph."""
    rng = np.random.default_rng(1)
    return [{"image": rng.random((1, 3, 16, 16)).astype(np.float32)} for _ in range(12)]
