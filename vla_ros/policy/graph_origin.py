"""Removes from exported graphs what tells of the machine that made them."""

from __future__ import annotations

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
