"""The shipped policy's architecture, derived from the robot's description and its cameras."""

from __future__ import annotations

from vla_ros.core.kinematics import Chain
from vla_ros.policy.configuration import CameraGeometry, KinematicTree, Matrix, PolicyConfig
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


def _rows(matrix: object) -> Matrix:
    return tuple(tuple(float(v) for v in row) for row in matrix)  # type: ignore[attr-defined]
