"""Runs modules as the graphs that bundles hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn


def run_exported(
    module: nn.Module, example: tuple[Tensor, ...], path: Path
) -> Callable[[tuple[Tensor, ...]], list[np.ndarray]]:
    """Export a module with flat inputs, and return what runs its graph in ONNX Runtime."""
    program = torch.onnx.export(module, example, dynamo=True, verbose=False)
    assert program is not None
    program.save(str(path), external_data=False)
    module.eval()  # the export restores the training flag of what it was given
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]

    def run(inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
        feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return list(session.run(None, feed))

    return run
