from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import helper

from vla_ros.core.errors import EngineError
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.engine import Graph
from vla_ros.engine.exporting.operators import explain_refusal
from vla_ros.engine.exporting.simplification import simplify
from vla_ros.policy.graph_origin import MODULE


def replace_operator(path: Path, name: str, operator: str, domain: str = "") -> onnx.ModelProto:
    model = onnx.load(path)
    node = next(node for node in model.graph.node if node.name == name)
    node.op_type, node.domain = operator, domain
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    onnx.save(model, path)
    return model


@pytest.mark.parametrize(("operator", "domain"), [("Bend", "mine"), ("NoSuchThing", "")])
def test_an_unknown_operator_is_named_with_its_node_and_module(
    convolutions: Path, operator: str, domain: str
) -> None:
    model = replace_operator(convolutions, "bend", operator, domain)
    with pytest.raises(EngineError) as refused:
        open_engine(Graph(path=convolutions), EngineChoice())
    about = explain_refusal(str(refused.value), model)
    assert operator in about
    assert "node 'bend'" in about
    assert "module 'eyes.bend'" in about


def test_an_error_that_names_nothing_is_not_explained(convolutions: Path) -> None:
    assert explain_refusal("out of memory", onnx.load(convolutions)) == ""


def test_a_simplified_graph_still_knows_its_modules(convolutions: Path) -> None:
    model = onnx.load(convolutions)
    identity = helper.make_node("Identity", ["sum"], ["same"], name="nothing")
    last = model.graph.node.pop()
    last.input[0] = "same"
    model.graph.node.extend([identity, last])
    smaller, done = simplify(model)
    assert (done.nodes_before, done.nodes_after) == (6, 5)
    modules = {
        p.value for node in smaller.graph.node for p in node.metadata_props if p.key == MODULE
    }
    assert "['', 'eyes.second', 'second_1']" in modules
    assert smaller.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
