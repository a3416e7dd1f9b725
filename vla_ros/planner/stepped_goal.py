"""Follows one goal through its steps, from acceptance to the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vla_ros.core.errors import DefectError
from vla_ros.planner.goal_monitor import (
    NS_PER_S,
    Feedback,
    GateReport,
    GoalMonitor,
    GoalSettings,
    Verdict,
)
from vla_ros.planner.outcome import Outcome
from vla_ros.planner.refusal import LATER_STEP


class SteppedGoal:
    """One goal: a step begins when the one before it has succeeded.

    Each step is judged as a goal of its own; the time-out is for all of them. A step that ends in
    any other way ends the goal, and the message says which one it was. Not thread-safe: one thread
    calls it.

    Attributes:
        instruction: As the client gave it.
        steps: What the policy is told, in this order; the instruction itself if it is one step.
    """

    def __init__(
        self,
        instruction: str,
        steps: Sequence[str],
        *,
        timeout_s: float,
        settings: GoalSettings,
        now_ns: int,
    ) -> None:
        """Begin the first step.

        Args:
            instruction: As the client gave it.
            steps: What the policy is told, in this order.
            timeout_s: Of the whole in [s], from `GoalSettings.timeout_of`.
            settings: When a step ends.
            now_ns: Time of acceptance in [ns].
        """
        if not steps:
            raise DefectError(f'"{instruction}" has no step')
        self.instruction, self.steps = instruction, tuple(steps)
        self._timeout_s, self._settings, self._start_ns = timeout_s, settings, now_ns
        self._index = 0
        self._monitor = self._begin_step(now_ns)
        self._verdict: Verdict | None = None

    @property
    def verdict(self) -> Verdict | None:
        """How the goal ended; None while it runs."""
        return self._verdict

    @property
    def step(self) -> str:
        """What the policy is told now."""
        return self.steps[self._index]

    @property
    def number(self) -> int:
        """Which step is under way, from 1."""
        return self._index + 1

    def observe(self, report: GateReport) -> None:
        """Take note of a gate status; called for each one that arrives."""
        self._monitor.observe(report)

    def check(self, now_ns: int) -> Verdict | None:
        """Return the verdict if the goal has ended by `now_ns` [ns]; called periodically."""
        if self._verdict is not None:
            return self._verdict
        ending = self._monitor.check(now_ns)
        if ending is None:
            return None
        if ending.outcome is Outcome.SUCCEEDED and self.number < len(self.steps):
            self._index += 1
            self._monitor = self._begin_step(now_ns)
            return None
        return self._conclude(ending, now_ns)

    def end(self, outcome: Outcome, message: str, *, now_ns: int) -> Verdict:
        """End the goal from outside (cancel, pre-emption, a failure) and return its verdict."""
        if self._verdict is not None:
            return self._verdict
        return self._conclude(self._monitor.end(outcome, message, now_ns=now_ns), now_ns)

    def feedback(self, now_ns: int) -> Feedback:
        """Return what to tell the client at `now_ns` [ns]."""
        said = self._monitor.feedback(now_ns)
        where = f"step {self.number} of {len(self.steps)}: " if len(self.steps) > 1 else ""
        return replace(said, reason=where + said.reason, elapsed_s=self._elapsed_s(now_ns))

    def _begin_step(self, now_ns: int) -> GoalMonitor:
        left_s = max(0.0, self._timeout_s - self._elapsed_s(now_ns))
        settings = self._settings
        if self._index > 0:
            said = settings.refusal
            later = replace(
                LATER_STEP,
                below=said.below,
                after_s=max(said.after_s, LATER_STEP.after_s),
                within_s=max(said.within_s, LATER_STEP.within_s),
            )
            settings = replace(settings, refusal=later)
        return GoalMonitor(self.step, timeout_s=left_s, settings=settings, now_ns=now_ns)

    def _conclude(self, ending: Verdict, now_ns: int) -> Verdict:
        self._verdict = replace(
            ending, message=self._placed(ending), duration_s=self._elapsed_s(now_ns)
        )
        return self._verdict

    def _placed(self, ending: Verdict) -> str:
        """Return how it ended, with the step at which it did."""
        count = len(self.steps)
        if count == 1:
            return ending.message
        if ending.outcome is Outcome.SUCCEEDED:
            return f"all {count} steps are done; in the last one {ending.message}"
        message = f'step {self.number} of {count}, "{self.step}": {ending.message}'
        if ending.outcome is Outcome.TIMED_OUT:
            message += f"; all steps together may take {self._timeout_s:.1f} s"
        return message

    def _elapsed_s(self, now_ns: int) -> float:
        return (now_ns - self._start_ns) / NS_PER_S
