"""Room for one goal at a time, and what happens to a second one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vla_ros.core.errors import InstructionRejected, UserError
from vla_ros.planner.goal_monitor import GoalSettings
from vla_ros.planner.instruction_check import InstructionCheck
from vla_ros.planner.outcome import Outcome
from vla_ros.planner.stepped_goal import SteppedGoal


class SecondGoal(StrEnum):
    """What happens to a goal that comes while another one runs."""

    REJECT = "reject"
    PREEMPT = "preempt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The answer to a goal.

    Attributes:
        monitor: Follows the goal; None when it is refused.
        preempted: The goal that ended for it, with its verdict; None mostly.
        reason: Why it is refused, else an empty text.
    """

    monitor: SteppedGoal | None
    preempted: SteppedGoal | None
    reason: str


class GoalSlot:
    """Admits goals one at a time. Not thread-safe: one thread calls it.

    Args:
        check: Refuses instructions.
        settings: When a goal ends.
        second_goal: What happens to a goal that comes while another one runs.
    """

    def __init__(
        self,
        *,
        check: InstructionCheck,
        settings: GoalSettings,
        second_goal: SecondGoal = SecondGoal.REJECT,
    ) -> None:
        """Start empty."""
        self._check, self._settings, self._second_goal = check, settings, second_goal
        self._current: SteppedGoal | None = None

    @property
    def current(self) -> SteppedGoal | None:
        """The goal that runs; None when there is none or it has its verdict."""
        if self._current is not None and self._current.verdict is not None:
            return None
        return self._current

    def admit(self, instruction: str, timeout_s: float, now_ns: int) -> Admission:
        """Take a goal in, or say why not; called once for each goal that arrives.

        A refused goal never disturbs the one that runs.

        Args:
            instruction: As the client wrote it.
            timeout_s: As the client asked, in [s]; 0 takes the default.
            now_ns: The time in [ns].
        """
        running = self.current
        try:
            text = self._check.accept(instruction)
            steps = self._check.steps(text)
            allowed_s = self._settings.timeout_of(timeout_s)
        except (InstructionRejected, UserError) as error:
            return Admission(monitor=None, preempted=None, reason=str(error))
        if running is not None and self._second_goal is SecondGoal.REJECT:
            reason = f'"{running.instruction}" still runs; cancel it or wait for its end'
            return Admission(monitor=None, preempted=None, reason=reason)
        if running is not None:
            running.end(Outcome.PREEMPTED, f'"{text}" took over', now_ns=now_ns)
        self._current = SteppedGoal(
            text, steps, timeout_s=allowed_s, settings=self._settings, now_ns=now_ns
        )
        return Admission(monitor=self._current, preempted=running, reason="")
