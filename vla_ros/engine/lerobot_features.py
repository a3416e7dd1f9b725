"""Whether a LeRobot policy fits a robot: what it takes must be there, and as large."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vla_ros.contract.features import ACTION, STATE, FeatureKind, feature_kind
from vla_ros.contract.specs import RobotContract
from vla_ros.core.errors import ContractError
from vla_ros.engine.lerobot_checkpoint import LeRobotCheckpoint

#: Cameras that no robot has: some policies were made with more, and fill the place themselves.
EMPTY = "observation.images.empty_camera"
#: Where configurations of LeRobot say that the policy itself brings images to a size.
RESIZES = ("resize_imgs_with_padding", "image_resolution", "resize_shape")


def require_fit(checkpoint: LeRobotCheckpoint, contract: RobotContract) -> tuple[str, ...]:
    """Return the cameras that a policy takes, of a robot that it fits.

    Raises:
        ContractError: naming every feature that the robot lacks or has otherwise.
    """
    faults = [*_inputs(checkpoint, contract), *_joints(checkpoint, contract)]
    if faults:
        raise ContractError(
            f"{checkpoint.source}: the policy cannot serve '{contract.name}':\n  "
            + "\n  ".join(faults)
            + "\nName cameras and joints in the robot's contract as in the policy's dataset, or "
            "use a policy that was made for this robot."
        )
    names = input_names(checkpoint).values()
    return tuple(
        name.rpartition(".")[2] for name in names if feature_kind(name) is FeatureKind.IMAGE
    )


def input_names(checkpoint: LeRobotCheckpoint) -> dict[str, str]:
    """Return the robot's name by the policy's name of each feature that it takes."""
    before = {policy: robot for robot, policy in checkpoint.renamed.items()}
    return {
        name: before.get(name, name)
        for name in checkpoint.config.input_features
        if not name.startswith(EMPTY)
    }


def _inputs(checkpoint: LeRobotCheckpoint, contract: RobotContract) -> Iterator[str]:
    there = {spec.feature: spec for spec in contract.observations}
    resizes = any(getattr(checkpoint.config, name, None) for name in RESIZES)
    for policy_name, name in input_names(checkpoint).items():
        shape = tuple(checkpoint.config.input_features[policy_name].shape)
        spec = there.get(name)
        if spec is None or spec.kind not in (FeatureKind.IMAGE, FeatureKind.STATE):
            yield f"{name}: the policy takes it; the robot has {', '.join(there)}"
        elif spec.kind is FeatureKind.STATE:
            yield from _length(STATE, shape, contract)
        elif shape[-2:] != (spec.height, spec.width) and not resizes:
            yield (
                f"{name}: the policy takes {shape[-1]}x{shape[-2]} px and does not resize, the "
                f"robot has {spec.width}x{spec.height} px"
            )


def _joints(checkpoint: LeRobotCheckpoint, contract: RobotContract) -> Iterator[str]:
    feature: Any = checkpoint.config.action_feature
    if feature is None:
        yield f"{ACTION}: the policy gives none; it gives {', '.join(_outputs(checkpoint))}"
        return
    yield from _length(ACTION, tuple(feature.shape), contract)
    joints = contract.action.joints
    if checkpoint.joints and checkpoint.joints != joints:
        yield (
            f"{ACTION}: the policy moves {', '.join(checkpoint.joints)}; the robot has "
            f"{', '.join(joints)}, and the order counts"
        )


def _length(name: str, shape: tuple[int, ...], contract: RobotContract) -> Iterator[str]:
    joints = len(contract.action.joints)
    if shape != (joints,):
        yield f"{name}: the policy has {shape[0]} numbers, the robot {joints} joints"


def _outputs(checkpoint: LeRobotCheckpoint) -> list[str]:
    return list(checkpoint.config.output_features or ()) or ["nothing"]
