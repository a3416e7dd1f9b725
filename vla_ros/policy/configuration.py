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
class CloudConfig:
    """Which points of the front camera a policy reads.

    Attributes:
        lower: Corner of the box that is read, in the base frame [m].
        upper: The corner opposite to it [m].
        voxel_m: What lies within one cube with this edge becomes one point [m].
        count: Points at most; of more, those are kept that are farthest apart.
    """

    lower: tuple[float, float, float]
    upper: tuple[float, float, float]
    voxel_m: float = 0.01
    count: int = 512


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
        image_encoder: One of `vla_ros.policy.encoders.IMAGE_ENCODERS`.
        image_weights: Path or hub id that the weights of a `pretrained` one come from.
        image_tuning: What of it trains: nothing (`frozen`), adapters (`lora`), or all (`full`).
        image_model: Its architecture, as `describe_vision` gives it; None for the others.
        depth_encoder: One of `vla_ros.policy.encoders.DEPTH_ENCODERS`.
        cloud: The points that `points` reads; None for the others.
        imu_encoder: One of `vla_ros.policy.encoders.IMU_ENCODERS`.
        language_encoder: One of `vla_ros.policy.encoders.LANGUAGE_ENCODERS`; what runs is the
            language.onnx that was made of it.
        head: How a chunk is decided, one of `vla_ros.policy.heads.HEADS`.
        flow_steps: Euler steps of the head `flow`.
        flow_delay: Longest simulated delay in its training, in rows; 0 to train without.
        action_bins: Bins of each token of the head `tokens`.
        pruned: How many hidden units are left, by the layer that makes them, if some were
            removed; else None.
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
    image_encoder: str = "conv"
    image_weights: str = ""
    image_tuning: str = "frozen"
    image_model: Mapping[str, Any] | None = None
    depth_encoder: str = "channel"
    cloud: CloudConfig | None = None
    imu_encoder: str = "conv"
    language_encoder: str = "minilm"
    head: str = "l1"
    flow_steps: int = 8
    flow_delay: int = 0
    action_bins: int = 32
    pruned: Mapping[str, int] | None = None

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
        if cloud := fields.get("cloud"):
            corners = {name: tuple(cloud[name]) for name in ("lower", "upper")}
            fields["cloud"] = CloudConfig(**{**cloud, **corners})
        return PolicyConfig(**fields)


def _matrix(rows: Any) -> Matrix:
    return tuple(tuple(float(value) for value in row) for row in rows)
