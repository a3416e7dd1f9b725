"""Writes modules as ONNX graphs with an open batch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from vla_ros.core.errors import EngineError
from vla_ros.engine.engine import BATCH
from vla_ros.engine.lerobot_checkpoint import LeRobotCheckpoint
from vla_ros.policy.graph_origin import forget_origin

#: Robots that one inference may serve, and rows that are traced: 1 would be taken as meant.
MOST_AT_ONCE, TRACED = 256, 3


def examples(checkpoint: LeRobotCheckpoint, names: Sequence[str]) -> tuple[Tensor, ...]:
    """Return random inputs by the policy's names of features: images as bytes, rows last."""
    draw = torch.Generator().manual_seed(0)
    found = []
    for name in names:
        shape = tuple(checkpoint.config.input_features[name].shape)
        if len(shape) == 3:
            size = (TRACED, *shape[1:], 3)
            found.append(torch.randint(0, 256, size, dtype=torch.uint8, generator=draw))
        else:
            found.append(torch.randn((TRACED, *shape), generator=draw))
    return tuple(found)


def write_graph(
    module: nn.Module,
    path: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    example: tuple[Tensor, ...],
) -> None:
    """Write a module whose `forward` takes tensors one by one, with the batch first.

    Raises:
        EngineError: if torch cannot export it; says at what.
    """
    batch = torch.export.Dim(BATCH, min=1, max=MOST_AT_ONCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter, about itself
        try:
            program = torch.onnx.export(
                _Listed(module).eval(),
                (example,),
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=(tuple({0: batch} for _ in example),),
                dynamo=True,
                optimize=True,
                verbose=False,
            )
        except Exception as error:  # torch's exporter has no base class of its own
            raise EngineError(f"{path.name}: torch cannot export it: {error}") from error
    assert program is not None
    program.save(str(path), external_data=False)
    graph = onnx.load(path)
    forget_origin(graph)
    onnx.save(graph, path)


class _Listed(nn.Module):
    """Takes one tuple: the exporter wants as many shapes as `forward` has arguments."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, values: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        found: Tensor | tuple[Tensor, ...] = self.inner(*values)
        return found
