"""How an operator moves the robot: what every device has in common."""

from __future__ import annotations

from dataclasses import dataclass, fields

from vla_ros.teleop.intent import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """Speeds at full deflection.

    Attributes:
        linear: Of the tip [m/s].
        angular: Of the tip's turning [rad/s].
        joint: Of each joint, in mode `joint` [rad/s].
        gripper: Of joints that are not part of the chain to the tip [rad/s].
        follow: Of joints that follow a leader arm [rad/s].
        catch_up: Of the same while they are still on their way to where the leader is [rad/s].
        base_linear: Of a mobile base [m/s].
        base_angular: Of its turning [rad/s].
    """

    linear: float
    angular: float
    joint: float
    gripper: float
    follow: float
    catch_up: float
    base_linear: float
    base_angular: float

    def __post_init__(self) -> None:
        """Refuse speeds that are none.

        Raises:
            ValueError: naming the speed.
        """
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0.0 < value < float("inf"):
                raise ValueError(f"{item.name}: expected a speed above 0, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TeleopSettings:
    """What every device has in common.

    Attributes:
        rate_hz: How often the device speaks.
        modes: That the operator may choose; the first is the one to begin with.
        speeds: At full deflection.
        tool_frame: Whether the tip's axes are those of the tip itself, and not of the base.
        base_topic: Where a base's velocity goes.
    """

    rate_hz: float
    modes: tuple[Mode, ...]
    speeds: Speeds
    tool_frame: bool
    base_topic: str
