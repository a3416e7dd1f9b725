"""Reads a graph into a network of the library, and says which nodes it cannot read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx

from vla_ros.core.errors import EngineError
from vla_ros.engine.tensorrt.library import Library
from vla_ros.policy.graph_origin import module_of

#: The parser's answer where an operator is not supported at all is the word "false".
_NO_REASON = ("", "false")


def parse_graph(
    library: Library, network: Any, log: Any, path: Path, typed: tuple[Path, onnx.ModelProto]
) -> Any:
    """Fill `network` with a graph and return the parser, which owns its weights.

    Args:
        library: Which parses.
        network: What is filled.
        log: The library's.
        path: Of the graph, as the user knows it.
        typed: The graph in the types that it is to compute in: its file, and what is in it.

    Raises:
        EngineError: if nodes cannot be read; names each one's operator, name and module.
    """
    parser = library.api.OnnxParser(network, log)
    file, model = typed
    if not parser.parse_from_file(str(file)):  # not from memory: it may be larger than 2 GB
        reasons = [_explain(parser.get_error(i), model) for i in range(parser.num_errors)]
        found = "; ".join(reasons or log.errors) or "it does not say why"
        raise EngineError(
            f"{path}: {library.title} {library.version} cannot run it: {found}. Write the module "
            "in other operators, or run the graph with onnxruntime"
        )
    return parser


def _explain(error: Any, model: onnx.ModelProto) -> str:
    nodes = model.graph.node
    index = error.node()
    name, operator = error.node_name(), error.node_operator()
    node = nodes[index] if 0 <= index < len(nodes) else None
    if node is None or node.name != name:
        node = next((each for each in nodes if each.name == name), None)
    reason = error.desc().strip(". ")
    if not operator:
        return str(reason)
    text = f"operator {operator} (node '{name}'"
    module = module_of(node) if node is not None else ""
    text += f", module '{module}')" if module else ")"
    if error.local_function_stack():
        text += f" in function {' > '.join(error.local_function_stack())}"
    return f"{text}: {'is not supported' if reason in _NO_REASON else reason}"


def with_modules(text: str, model: onnx.ModelProto) -> str:
    """Return an error of the library with the module behind each node that it names."""
    modules = {node.name: module_of(node) for node in model.graph.node if node.name}

    def name(match: re.Match[str]) -> str:
        module = modules.get(match.group(1))
        return f"{match.group(0)} (module '{module}')" if module else match.group(0)

    return re.sub(r"'([^']+)'", name, text)
