"""Where the nodes of an exported graph come from: what of it is kept, and what is removed."""

from __future__ import annotations

import ast

import onnx

#: Which module of the network a node comes from; kept, since a backend's error can name it.
MODULE = "pkg.torch.onnx.name_scopes"


def forget_origin(model: onnx.ModelProto) -> None:
    """Remove what torch notes in a graph: which line of which file every node comes from."""
    described = (model, model.graph, *model.graph.node, *model.graph.value_info)
    for part in (*described, *model.graph.input, *model.graph.output, *model.graph.initializer):
        kept = {prop.key: prop.value for prop in part.metadata_props if prop.key == MODULE}
        del part.metadata_props[:]
        for key, value in kept.items():
            part.metadata_props.add(key=key, value=value)
        part.doc_string = ""


def module_of(node: onnx.NodeProto) -> str:
    """Return the dotted name of the module that a node came from; empty where nobody noted it."""
    for prop in node.metadata_props:
        if prop.key == MODULE:
            try:
                scopes = ast.literal_eval(prop.value)
            except (ValueError, SyntaxError):
                return str(prop.value)
            # each scope is a whole dotted name; the last one is the operation, not a module
            return str(scopes[-2]) if len(scopes) > 1 else ""
    return ""
