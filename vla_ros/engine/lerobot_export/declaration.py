"""What an exported checkpoint declares of itself."""

from __future__ import annotations

from typing import Any

from vla_ros.contract.features import IMAGES, STATE
from vla_ros.engine.lerobot_checkpoint import LeRobotCheckpoint
from vla_ros.engine.lerobot_features import input_names


def image_names(checkpoint: LeRobotCheckpoint) -> list[str]:
    """Return the policy's names of the cameras that it takes, in its order."""
    taken = input_names(checkpoint)
    return [name for name in checkpoint.config.image_features if name in taken]


def tensor_of(feature: str) -> str:
    """Return the name of a feature's tensor."""
    if feature == STATE:
        return "state"
    return "image_" + feature.removeprefix(IMAGES).replace(".", "_")


def declare_inputs(checkpoint: LeRobotCheckpoint) -> dict[str, Any]:
    """Return the inputs of a signature: raw images, and joint positions as they are measured."""
    names = input_names(checkpoint)
    inputs: dict[str, Any] = {
        names[name]: {
            "tensor": tensor_of(name),
            "layout": "hwc",
            "dtype": "uint8",
            "size": list(checkpoint.config.input_features[name].shape[-2:]),
        }
        for name in image_names(checkpoint)
    }
    return inputs | {names[STATE]: {"tensor": tensor_of(STATE)}}
