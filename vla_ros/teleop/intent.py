"""What an operator wants at one moment, and what has become of it: the two sides of a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Mode(StrEnum):
    """What the operator's axes move."""

    JOINT = "joint"
    END_EFFECTOR = "end_effector"
    BASE = "base"


#: The axes of a mode; those of `joint` are the contract's joints by name, or `joint_1` and so on.
CARTESIAN = ("x", "y", "z", "roll", "pitch", "yaw")
GRIPPER = "gripper"
BASE_AXES = ("forward", "left", "turn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What a device has said last.

    Attributes:
        time_ns: When it said so [ns], on the clock that it was read with. Nothing that is made of
            it lasts for longer than `VALID_S` from then on.
        engaged: Whether the dead-man switch is held: the operator wants the arm.
        mode: What the axes move.
        axes: Name of an axis to a share of its highest speed, -1 to 1; those that are missing
            stand still.
        positions: Joint name to where that joint should be [rad], for a leader arm; None for a
            device that asks for speeds. Takes precedence over the axes.
        speed: Scales all speeds, above 0 to 1.
    """

    time_ns: int
    engaged: bool
    mode: Mode
    axes: Mapping[str, float] = field(default_factory=dict)
    positions: Mapping[str, float] | None = None
    speed: float = 1.0


class OperatorState(StrEnum):
    """Where an operator stands."""

    #: Does not have the arm.
    IDLE = "idle"
    #: Has it: the dead-man switch is held.
    ENGAGED = "engaged"
    #: Has it and is silent: the arm is held. The switch has to be released and pressed again.
    SILENT = "silent"
    #: The emergency stop came. The switch has to be released, which lets go.
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the operator should know.

    Attributes:
        state: Where the operator stands.
        actor: Who moves the robot: `policy`, `operator`, or "".
        reason: Why it does not move; "" while it does.
    """

    state: OperatorState = OperatorState.IDLE
    actor: str = ""
    reason: str = ""
