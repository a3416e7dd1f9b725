"""Every disturbance by name, at the strength that it is measured with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vla_ros.core.errors import UserError
from vla_ros.evaluation.disturbance.base import Disturbance
from vla_ros.evaluation.disturbance.calibration import CameraMoved
from vla_ros.evaluation.disturbance.delay import Late, LateChunks
from vla_ros.evaluation.disturbance.loss import SensorLost
from vla_ros.evaluation.disturbance.noise import (
    DepthHoles,
    DepthNoise,
    ImageNoise,
    ImuNoise,
    JointNoise,
)
from vla_ros.evaluation.disturbance.optics import Defocus, MotionBlur, Occlusion, WrongExposure
from vla_ros.evaluation.disturbance.patch import AdversarialPatch, RandomPatch

_ALL: tuple[Disturbance, ...] = (
    SensorLost(name="no_depth", sensor="depth"),
    SensorLost(name="no_imu", sensor="imu"),
    SensorLost(name="no_wrist", sensor="wrist"),
    SensorLost(name="no_front", sensor="front"),
    Late(name="late_images", feature="images"),
    Late(name="late_depth", feature="depths"),
    Late(name="late_imu", feature="imu"),
    Late(name="late_joints", feature="state"),
    LateChunks(name="late_chunks"),
    ImageNoise(name="noisy_images"),
    DepthNoise(name="noisy_depth"),
    DepthHoles(name="depth_holes"),
    ImuNoise(name="noisy_imu"),
    JointNoise(name="noisy_joints"),
    CameraMoved(name="moved_front", camera="front"),
    CameraMoved(name="moved_wrist", camera="wrist"),
    MotionBlur(name="motion_blur"),
    Defocus(name="defocus"),
    WrongExposure(name="overexposed", stops=1.5),
    WrongExposure(name="underexposed", stops=-2.5),
    Occlusion(name="occlusion"),
    AdversarialPatch(name="adversarial_patch"),
    RandomPatch(name="random_patch"),
)

#: What `--disturb` may name, in the order of the table.
DISTURBANCES: dict[str, Disturbance] = {disturbance.name: disturbance for disturbance in _ALL}


def find_disturbances(names: Sequence[str], patch: Path | None = None) -> tuple[Disturbance, ...]:
    """Return the disturbances of these names, in their order.

    Args:
        names: Of `DISTURBANCES`.
        patch: A PNG in place of the shipped adversarial patch.

    Raises:
        UserError: if a name does not exist; lists those that do.
    """
    for name in names:
        if name not in DISTURBANCES:
            raise UserError(
                f"disturb {name!r} does not exist; choose one of {', '.join(DISTURBANCES)}"
            )
    return tuple(_with_patch(DISTURBANCES[name], patch) for name in names)


def _with_patch(disturbance: Disturbance, patch: Path | None) -> Disturbance:
    if patch is None or not isinstance(disturbance, AdversarialPatch):
        return disturbance
    return replace(disturbance, png=patch)
