"""What the processors of a checkpoint compute, found out for export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vla_ros.engine.lerobot_checkpoint import LeRobotCheckpoint
from vla_ros.engine.lerobot_export.affine import Affine, probe
from vla_ros.engine.lerobot_features import input_names

PROBED_TASK = "look"


@dataclass(frozen=True, slots=True, kw_only=True)
class Processing:
    """What is done to a policy's inputs and outputs around it.

    Attributes:
        inputs: By the policy's name of the feature; images count from 0 to 1.
        action: Of each joint, after the policy.
    """

    inputs: Mapping[str, Affine]
    action: Affine


def probe_processors(checkpoint: LeRobotCheckpoint) -> Processing:
    """Return what the processors of a checkpoint compute.

    Raises:
        EngineError: if they compute what cannot be put into a graph; names the feature.
    """
    config, names = checkpoint.config, input_names(checkpoint)
    shapes = {name: tuple(config.input_features[name].shape) for name in names}

    def ask(feature: str) -> Callable[[Tensor], Tensor]:
        def process(value: Tensor) -> Tensor:
            others = {
                names[name]: torch.zeros(shape, dtype=torch.float64)
                for name, shape in shapes.items()
                if name != feature and len(shape) < 3  # a few numbers; images take their time
            }
            done = checkpoint.preprocess({**others, names[feature]: value, "task": PROBED_TASK})
            found: Tensor = done[feature]
            return found.double().cpu().reshape(found.shape[-value.ndim :])

        return process

    def behind(value: Tensor) -> Tensor:
        done: Tensor = checkpoint.postprocess(value[None])
        return done.double()[0]

    return Processing(
        inputs={name: probe(ask(name), shape, name) for name, shape in shapes.items()},
        action=probe(behind, tuple(config.action_feature.shape), "action"),
    )
