"""What a policy is built from: sizes, cameras, kinematics. Frozen, and written into the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

Matrix = tuple[tuple[float, ...], ...]

#: The order of the modality mask.
MODALITIES = ("front", "wrist", "depth_front", "depth_wrist", "imu")
CAMERAS = ("front", "wrist")


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraGeometry:
    """A camera as the contract knows it.

    Attributes:
        width: Of the image the policy reads [px].
        height: Likewise.
        fx: Focal length [px]; `fy`, `cx`, `cy` likewise.
        on_hand: Whether the camera moves with the link before the gripper.
        mount: T_base_optical, or T_hand_optical when `on_hand`, (4, 4).
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    on_hand: bool
    mount: Matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class KinematicTree:
    """The arm's chain from base to hand: T_previous_joint at zero, and the axis of each joint."""

    origins: tuple[Matrix, ...]
    axes: Matrix
    tip: Matrix  # T_hand_tcp


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    """Architecture of a policy.

    Attributes:
        cameras: `front` and `wrist`.
        kinematics: Of the joints but the gripper.
        n_joints: Joints, gripper included.
        horizon: Rows of a chunk.
        step_s: Time between rows [s].
        imu_window: Readings in an IMU window.
        language_tokens: Tokens of an instruction.
        language_features: Width of a token's features.
        width: Width of the fused tokens.
        fusion: How the modalities are mixed, one of `vla_ros.policy.fusion.FUSIONS`.
        layers: Layers of the fusion.
        feedforward: Width of the hidden layers of the fusion.
        heads: Attention heads.
        vision_width: Channels of the image encoders.
    """

    cameras: Mapping[str, CameraGeometry]
    kinematics: KinematicTree
    n_joints: int = 6
    horizon: int = 10
    step_s: float = 0.05
    imu_window: int = 20
    language_tokens: int = 32
    language_features: int = 384
    width: int = 128
    fusion: str = "early"
    layers: int = 3
    feedforward: int = 384
    heads: int = 4
    vision_width: int = 56

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> PolicyConfig:
        """Build a configuration from `to_dict`'s data."""
        fields = dict(data)
        fields["cameras"] = {
            name: CameraGeometry(**{**camera, "mount": _matrix(camera["mount"])})
            for name, camera in fields["cameras"].items()
        }
        tree = fields["kinematics"]
        fields["kinematics"] = KinematicTree(
            origins=tuple(_matrix(origin) for origin in tree["origins"]),
            axes=_matrix(tree["axes"]),
            tip=_matrix(tree["tip"]),
        )
        return PolicyConfig(**fields)


def _matrix(rows: Any) -> Matrix:
    return tuple(tuple(float(value) for value in row) for row in rows)
