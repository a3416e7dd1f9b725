"""Safety: limits, motion within them, and the gate that every command passes. numpy only."""

from vla_ros.core.limits import JointLimits, WorkspaceBox
from vla_ros.safety.arbitration import Actor, Arbitration
from vla_ros.safety.gate import Gate
from vla_ros.safety.gate_config import Command, GateConfig, GateState
from vla_ros.safety.gate_making import GuardedRobot, make_checker, make_gate
from vla_ros.safety.limit_checker import LimitChecker, Violation
from vla_ros.safety.tracking import MotionFilter

__all__ = [
    "Actor",
    "Arbitration",
    "Command",
    "Gate",
    "GateConfig",
    "GateState",
    "GuardedRobot",
    "JointLimits",
    "LimitChecker",
    "MotionFilter",
    "Violation",
    "WorkspaceBox",
    "make_checker",
    "make_gate",
]
