"""ROS parameters of the `planner` node."""

from __future__ import annotations

from dataclasses import dataclass

from vla_ros.planner import GoalSettings, RefusalSettings, SecondGoal
from vla_ros.ros.parameters import parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerParameters:
    """ROS parameters of the node."""

    contract: str = parameter(about="contract name or path")
    bundle: str = parameter("", about="policy bundle, whose tokenizer counts word pieces")
    second_goal: str = parameter(
        "reject", about="a goal that comes while one runs: reject, preempt"
    )
    timeout_s: float = parameter(30.0, about="time-out of a goal that names none [s]")
    done_progress: float = parameter(0.9, about="progress from which the policy is done")
    done_for_s: float = parameter(0.5, about="how long the progress must stay there [s]")
    start_grace_s: float = parameter(5.0, about="time for the first chunk to be executed [s]")
    held_after_s: float = parameter(2.0, about="how long the gate may hold in between [s]")
    refuse_below: float = parameter(
        RefusalSettings().below, about="grounding under which what is named is not there; 0: never"
    )
    refuse_after_s: float = parameter(
        RefusalSettings().after_s, about="how long the grounding must stay there [s]"
    )
    refuse_within_s: float = parameter(
        RefusalSettings().within_s, about="time from the first chunk of a step to refuse it in [s]"
    )
    autostart: bool = parameter(True, about="configure and activate at once")

    def __post_init__(self) -> None:
        """Refuse a second-goal rule that does not exist."""
        rules = [rule.value for rule in SecondGoal]
        if self.second_goal not in rules:
            raise ValueError(f"second_goal: expected {' or '.join(rules)}, got {self.second_goal}")

    def goal_settings(self) -> GoalSettings:
        """Return when a goal ends.

        Raises:
            UserError: if a value is out of range; names it.
        """
        return GoalSettings(
            timeout_s=self.timeout_s,
            done_progress=self.done_progress,
            done_for_s=self.done_for_s,
            start_grace_s=self.start_grace_s,
            held_after_s=self.held_after_s,
            refusal=RefusalSettings(
                below=self.refuse_below,
                after_s=self.refuse_after_s,
                within_s=self.refuse_within_s,
            ),
        )
