"""The gate of a robot, and the checker of its commands, from what the robot's contract says."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from vla_ros.core.kinematics import Chain
from vla_ros.core.limits import JointLimits, WorkspaceBox
from vla_ros.safety.gate import Gate
from vla_ros.safety.gate_config import GateConfig
from vla_ros.safety.limit_checker import LimitChecker
from vla_ros.safety.workspace import WorkspaceGuard

#: By how much one computation of a tip's position may differ from another [m].
ROUNDING_M = 1e-9


class GuardedRobot(Protocol):
    """What the gate needs to know of a robot; a `RobotContract` is one."""

    @property
    def limits(self) -> JointLimits:
        """Limits of the commanded joints."""
        ...

    @property
    def workspace(self) -> WorkspaceBox | None:
        """Where the tip may be; None for anywhere."""
        ...

    @property
    def control_period_s(self) -> float:
        """Time between two commands in [s]."""
        ...

    @property
    def blend_s(self) -> float:
        """Shortest fade from one chunk into the next in [s]."""
        ...

    @property
    def max_state_age_s(self) -> float:
        """Oldest joint state that still counts in [s]."""
        ...

    @property
    def following_error_rad(self) -> tuple[float, ...]:
        """Tolerated distance between command and measurement per joint in [rad]; empty for any."""
        ...

    def chain(self) -> Chain:
        """Return the chain to the tip; called only if there is a workspace."""
        ...


def make_gate(robot: GuardedRobot, config: GateConfig | None = None) -> Gate:
    """Return a gate for `robot`, which does not know yet where the robot is.

    Args:
        robot: For example a `RobotContract`. Blending, the age of joint states and the following
            error are the robot's, whatever `config` says.
        config: Other tolerances.
    """
    config = replace(
        config or GateConfig(),
        blend_s=robot.blend_s,
        max_state_age_s=robot.max_state_age_s,
        following_error_rad=robot.following_error_rad,
    )
    chain = robot.chain() if robot.workspace is not None else None
    return Gate(robot.limits, robot.workspace, chain, robot.control_period_s, config)


def make_checker(robot: GuardedRobot) -> LimitChecker:
    """Return a checker of the commands to `robot`: joint limits exactly, workspace to 1 nm."""
    if robot.workspace is None:
        return LimitChecker(robot.limits, robot.control_period_s)
    box = WorkspaceBox(
        lower=_moved(robot.workspace.lower, -ROUNDING_M),
        upper=_moved(robot.workspace.upper, ROUNDING_M),
    )
    guard = WorkspaceGuard(box, robot.chain(), robot.limits.names)
    return LimitChecker(robot.limits, robot.control_period_s, guard.fault)


def _moved(corner: tuple[float, float, float], by_m: float) -> tuple[float, float, float]:
    x, y, z = corner
    return x + by_m, y + by_m, z + by_m
