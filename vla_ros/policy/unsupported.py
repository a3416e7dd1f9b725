"""Says which operator of a network has no counterpart in ONNX, and in which module it stands."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

#: How torch's exporter names what it could not translate: a node, and the operator that it calls.
_FAILED = re.compile(r"translating node %(\w+) .*?target=(?:torch\.ops\.)?([\w.]+)", re.DOTALL)


def explain_unsupported(
    error: BaseException, module: nn.Module, inputs: tuple[Tensor, ...]
) -> str:
    """Return operator, node and module that an export failed at; its first line if it tells none.

    Args:
        error: What `torch.onnx.export` raised.
        module: That it was to export.
        inputs: Of the module.
    """
    found = _FAILED.search(str(error))
    if found is None:
        return str(error).partition("\n")[0]
    node, operator = found.groups()
    where = _module_of(node, operator, module, inputs)
    origin = f", of module '{where}'" if where else ""
    return f"operator {operator} (node '{node}'{origin}) does not exist in ONNX"


def _module_of(name: str, operator: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> str:
    """Return the dotted name of the module whose computation a node is a part of."""
    try:
        program = torch.export.export(module, inputs, strict=False).run_decompositions()
    except Exception:  # noqa: BLE001 the export failed before; operator and node are told without it
        return ""
    nodes = list(program.graph.nodes)
    named = [node for node in nodes if node.name == name]
    named += [node for node in nodes if str(node.target) == operator]
    if not named:
        return ""
    stack = named[0].meta.get("nn_module_stack") or {"": ("", None)}
    return str(list(stack.values())[-1][0])
