"""What `bench/gpu.py` measures: our policy, and models with the shapes of SmolVLA and π0."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from vla_models import VisionLanguageAction
from vla_shapes import PI0, SMOLVLA, VlaShape, shrink

from vla_ros.core.resources import resource_path
from vla_ros.engine.backends.torch_module import rebuild
from vla_ros.engine.engine import Graph

Inputs = Mapping[str, NDArray[Any]]

MODELS = ("policy", "smolvla", "pi0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model that is measured.

    Attributes:
        name: Of the model.
        make: Makes the module, on the CPU.
        inputs: What it is given, by name, in the order of its arguments.
        graph: Its ONNX file, exported when it is first asked for.
        precision: What it computes in.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Inputs
    graph: Callable[[], Graph]
    precision: str


def make_subject(name: str, folder: Path, *, small: bool, half: bool) -> Subject:
    """Return a model by its name."""
    if name == "policy":
        bundle = resource_path("models/tabletop-small")
        graph = Graph(path=bundle / "policy.onnx", bundle=bundle)
        made = rebuild(graph)
        inputs = {key: value.numpy() for key, value in zip(made.inputs, made.example, strict=True)}
        return Subject(
            name="tabletop-small",
            make=lambda: rebuild(graph).module,
            inputs=inputs,
            graph=lambda: graph,
            precision="fp32",
        )
    shapes = {"smolvla": SMOLVLA, "pi0": PI0}
    if name not in shapes:
        raise SystemExit(f"--models: expected some of {', '.join(MODELS)}, got '{name}'")
    shape = shrink(shapes[name]) if small else shapes[name]
    return _random_model(shape, folder, half=half)


def _random_model(shape: VlaShape, folder: Path, *, half: bool) -> Subject:
    draw = np.random.default_rng(0)
    side = shape.vision.side
    shapes: dict[str, Sequence[int]] = {
        "images": (1, shape.cameras, 3, side, side),
        "language": (1, shape.words, shape.width),
        "state": (1, shape.action),
        "noise": (1, shape.chunk, shape.action),
    }
    inputs = {key: draw.standard_normal(size).astype(np.float32) for key, size in shapes.items()}
    path = folder / f"{shape.name}.{'fp16' if half else 'fp32'}.onnx"

    def make() -> nn.Module:
        torch.manual_seed(0)
        module = VisionLanguageAction(shape).eval()
        return module.half() if half else module

    def graph() -> Graph:
        if not path.exists():
            example = tuple(torch.from_numpy(value) for value in inputs.values())
            program = torch.onnx.export(
                make(),
                example,
                dynamo=True,
                verbose=False,
                input_names=list(inputs),
                output_names=["actions"],
            )
            assert program is not None
            program.save(str(path), external_data=not shape.name.endswith("-small"))
        return Graph(path=path)

    return Subject(
        name=shape.name,
        make=make,
        inputs=inputs,
        graph=graph,
        precision="fp16" if half else "fp32",
    )
