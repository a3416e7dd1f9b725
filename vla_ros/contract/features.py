"""Names of features, as in LeRobot datasets, with depth and IMU beside them."""

from __future__ import annotations

from enum import StrEnum

IMAGES = "observation.images."
DEPTHS = "observation.depth."
IMU = "observation.imu"
STATE = "observation.state"
ACTION = "action"
TASK = "task"


class FeatureKind(StrEnum):
    """What a feature holds, which decides what the contract says about it."""

    IMAGE = "image"
    DEPTH = "depth"
    IMU = "imu"
    STATE = "state"


def feature_kind(feature: str) -> FeatureKind | None:
    """Return the kind of an observation feature; None if there is no such feature."""
    for prefix, kind in ((IMAGES, FeatureKind.IMAGE), (DEPTHS, FeatureKind.DEPTH)):
        if feature.startswith(prefix) and feature.removeprefix(prefix).isidentifier():
            return kind
    return {IMU: FeatureKind.IMU, STATE: FeatureKind.STATE}.get(feature)


def camera_of(feature: str) -> str:
    """Return the camera's name in an image or depth feature, or "" for other features."""
    if feature_kind(feature) in (FeatureKind.IMAGE, FeatureKind.DEPTH):
        return feature.rpartition(".")[2]
    return ""
