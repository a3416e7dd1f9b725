"""The shipped policy's architecture, derived from the robot's description and its cameras."""

from __future__ import annotations

from dataclasses import replace

from vla_ros.core.kinematics import Chain
from vla_ros.policy.configuration import CameraGeometry, KinematicTree, Matrix, PolicyConfig
from vla_ros.policy.fusion import Fusion, find_fusion
from vla_ros.sim.model import CAMERAS, robot_urdf
from vla_ros.sim.tabletop import camera_info

HAND = "gripper_link"


def tabletop_small() -> PolicyConfig:
    """Return the architecture of `models/tabletop-small`."""
    urdf = robot_urdf()
    arm = Chain.from_urdf(urdf, "base_link", HAND)
    tool = Chain.from_urdf(urdf, HAND, "tcp")
    cameras = {}
    for name in CAMERAS:
        on_hand = name == "wrist"
        mount = Chain.from_urdf(urdf, HAND if on_hand else "base_link", f"{name}_camera_optical")
        info = camera_info(name)
        cameras[name] = CameraGeometry(
            width=info.width,
            height=info.height,
            fx=info.fx,
            fy=info.fy,
            cx=info.cx,
            cy=info.cy,
            on_hand=on_hand,
            mount=_rows(mount.tip),
        )
    tree = KinematicTree(
        origins=tuple(_rows(origin) for origin in arm.origins),
        axes=_rows(arm.axes),
        tip=_rows(tool.tip),
    )
    return PolicyConfig(cameras=cameras, kinematics=tree)


def with_fusion(config: PolicyConfig, name: str) -> PolicyConfig:
    """Return `config` with another fusion that has as many parameters.

    The fusion gets as many layers, up to those of `config`, as leave its feed-forward layers at
    least about as wide as a token, but never fewer than it needs; their width makes up the
    difference.

    Raises:
        UserError: if there is no fusion of this name; lists those there are.
    """
    fusion = find_fusion(name)
    budget = _parameters(find_fusion(config.fusion), config, config.layers, config.feedforward)
    for layers in range(max(config.layers, fusion.least_layers), fusion.least_layers - 1, -1):
        least = _parameters(fusion, config, layers, 1)
        each = _parameters(fusion, config, layers, 2) - least
        feedforward = round((budget - least) / each) + 1
        if feedforward >= 0.95 * config.width or layers == fusion.least_layers:
            break
    return replace(config, fusion=name, layers=layers, feedforward=max(feedforward, 8))


def _parameters(fusion: type[Fusion], config: PolicyConfig, layers: int, feedforward: int) -> int:
    built = fusion(config.width, config.heads, layers, feedforward)
    return sum(value.numel() for value in built.parameters())


def _rows(matrix: object) -> Matrix:
    return tuple(tuple(float(v) for v in row) for row in matrix)  # type: ignore[attr-defined]
