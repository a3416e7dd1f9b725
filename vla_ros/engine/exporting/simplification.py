"""Makes a graph smaller that computes the same: constants folded, what does nothing removed."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.metadata import version

import onnx

from vla_ros.core.errors import EngineError
from vla_ros.policy.graph_origin import forget_origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Simplification:
    """What was done.

    Attributes:
        by: The package that did it, with its version.
        nodes_before: Nodes of the graph.
        nodes_after: Likewise.
    """

    by: str
    nodes_before: int
    nodes_after: int


def simplify(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Simplification]:
    """Return a smaller graph that computes the same, and what was done.

    The first dimension stays open, so that the graph still serves several robots at once.

    Raises:
        EngineError: if onnxslim is not installed.
    """
    try:
        onnxslim = importlib.import_module("onnxslim")
    except ImportError as error:
        raise EngineError(
            f"export simplifies graphs with onnxslim, which cannot be imported: {error}; install "
            "it: pip install onnxslim"
        ) from error
    before = len(model.graph.node)
    modules = {node.name: list(node.metadata_props) for node in model.graph.node if node.name}
    smaller: onnx.ModelProto = onnxslim.slim(onnx.ModelProto.FromString(model.SerializeToString()))
    for node in smaller.graph.node:
        if not node.metadata_props:  # onnxslim drops from which module a node came
            node.metadata_props.extend(modules.get(node.name, ()))
    forget_origin(smaller)
    done = Simplification(
        by=f"onnxslim {version('onnxslim')}",
        nodes_before=before,
        nodes_after=len(smaller.graph.node),
    )
    return smaller, done
