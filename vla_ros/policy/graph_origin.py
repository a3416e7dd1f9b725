"""Removes from exported graphs what tells of the machine that made them."""

from __future__ import annotations

import onnx


def forget_origin(model: onnx.ModelProto) -> None:
    """Remove what torch notes in a graph: which line of which file every node comes from."""
    described = (model, model.graph, *model.graph.node, *model.graph.value_info)
    for part in (*described, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
