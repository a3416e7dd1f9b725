"""Says which operator a backend could not run, which node it is, and which module it came from."""

from __future__ import annotations

import re

import onnx

from vla_ros.policy.graph_origin import module_of


def explain_refusal(text: str, model: onnx.ModelProto) -> str:
    """Return which nodes of a graph an error of a backend is about; empty if it names none.

    Backends name a node, or only its operator; the module is in the graph.

    Args:
        text: What the backend said.
        model: The graph.
    """
    named = [node for node in model.graph.node if node.name and _names(text, node.name)]
    if not named:
        domains = ("", "ai.onnx")
        named = [
            node
            for node in model.graph.node
            if node.domain not in domains and _names(text, node.op_type)
        ]
    if not named:
        standard = {node.op_type: node for node in reversed(model.graph.node)}
        named = [node for name, node in standard.items() if _names(text, name)]
    return "; ".join(describe_node(node) for node in named[:3])


def describe_node(node: onnx.NodeProto) -> str:
    """Return operator, name and module of a node, as an error shows them."""
    module = module_of(node)
    origin = f", of module '{module}'" if module else ""
    domain = f"{node.domain}::" if node.domain else ""
    return f"operator {domain}{node.op_type} (node '{node.name}'{origin})"


def _names(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w./]){re.escape(name)}(?![\w./])", text) is not None
