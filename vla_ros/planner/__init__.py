"""From an instruction to a goal that is watched until it ends. No ROS in here."""

from vla_ros.planner.goal_monitor import (
    Feedback,
    GateReport,
    GateState,
    GoalMonitor,
    GoalSettings,
    Verdict,
)
from vla_ros.planner.goal_slot import Admission, GoalSlot, SecondGoal
from vla_ros.planner.instruction_check import InstructionCheck
from vla_ros.planner.outcome import Outcome
from vla_ros.planner.refusal import RefusalSettings, RefusalSignal
from vla_ros.planner.stepped_goal import SteppedGoal
from vla_ros.planner.steps import StepSplitter
from vla_ros.planner.vocabulary import Vocabulary

__all__ = [
    "Admission",
    "Feedback",
    "GateReport",
    "GateState",
    "GoalMonitor",
    "GoalSettings",
    "GoalSlot",
    "InstructionCheck",
    "Outcome",
    "RefusalSettings",
    "RefusalSignal",
    "SecondGoal",
    "StepSplitter",
    "SteppedGoal",
    "Verdict",
    "Vocabulary",
]
