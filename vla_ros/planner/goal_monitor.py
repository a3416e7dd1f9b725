"""Watches one task until it ends: by the policy's word, the clock, or a gate that holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum

from vla_ros.core.errors import UserError
from vla_ros.planner.outcome import Outcome
from vla_ros.planner.refusal import RefusalSettings, RefusalSignal

NS_PER_S = 1_000_000_000


class GateState(IntEnum):
    """The constants of `GateStatus.msg`, by the same names and numbers."""

    HOLD = 0
    EXECUTING = 1
    ESTOP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GoalSettings:
    """When a goal ends.

    Attributes:
        timeout_s: Time-out of a goal that names none, in [s].
        longest_timeout_s: Longest time-out a goal may ask for, in [s].
        done_progress: Progress from which the policy is believed to be done, 0 to 1.
        done_for_s: How long the progress must stay there, in [s].
        start_grace_s: How long the gate may take to execute the first chunk, in [s].
        held_after_s: How long the gate may hold after that before the goal ends, in [s].
        refusal: When the policy is believed that what is named is not there.
    """

    timeout_s: float = 30.0
    longest_timeout_s: float = 600.0
    done_progress: float = 0.9
    done_for_s: float = 0.5
    start_grace_s: float = 5.0
    held_after_s: float = 2.0
    refusal: RefusalSettings = field(default_factory=RefusalSettings)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UserError: names the setting, what was expected and what came.
        """
        for name in ("timeout_s", "longest_timeout_s", "start_grace_s", "held_after_s"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise UserError(f"planner: {name} is {value}; expected a duration above 0 s")
        if not 0 < self.done_progress <= 1:
            raise UserError(f"planner: done_progress is {self.done_progress}; expected 0 to 1")
        if not 0 <= self.done_for_s < self.timeout_s:
            raise UserError(
                f"planner: done_for_s is {self.done_for_s}; expected 0 to timeout_s, "
                f"{self.timeout_s}"
            )

    def timeout_of(self, asked_s: float) -> float:
        """Return the time-out of a goal that asks for `asked_s` [s]; 0 takes the default.

        Raises:
            UserError: if it is negative, not finite or longer than allowed.
        """
        if not (math.isfinite(asked_s) and 0 <= asked_s <= self.longest_timeout_s):
            raise UserError(
                f"timeout_s is {asked_s}; expected 0 (the default, {self.timeout_s} s) to "
                f"{self.longest_timeout_s} s"
            )
        return asked_s or self.timeout_s


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """What the gate says of itself.

    Attributes:
        received_ns: When the report came, on the clock that `GoalMonitor` is given, in [ns].
        state: Holding, executing or in e-stop.
        reason: Why, in words.
        instruction: Of the active chunk.
        progress: Of the active chunk, 0 to 1.
        chunk_age_s: Age of the active chunk's observation in [s]; NaN without a chunk.
        grounding: Of the active chunk, 0 to 1: how likely what the instruction names is there.
        operated: Whether an operator moves the robot, who helps with the goal.
    """

    received_ns: int
    state: GateState
    reason: str
    instruction: str
    progress: float
    chunk_age_s: float
    grounding: float = 1.0
    operated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What a client is told while the goal runs; the fields of `RunInstruction` feedback."""

    step: str
    reason: str
    progress: float
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How the goal ended; the fields of `RunInstruction` result."""

    outcome: Outcome
    message: str
    duration_s: float
    progress: float


class GoalMonitor:
    """One task, from its beginning to its verdict: a goal, or one step of a goal.

    A report counts as work on the goal when the gate executes a chunk with this instruction whose
    observation was taken after the goal began: the last goal's chunks, even of the same words, do
    not. The verdict is given once and never changes. Not thread-safe: one thread calls it.

    Args:
        instruction: As given to the policy.
        timeout_s: In [s], from `GoalSettings.timeout_of`.
        settings: When a goal ends.
        now_ns: Time of acceptance in [ns].
    """

    def __init__(
        self, instruction: str, *, timeout_s: float, settings: GoalSettings, now_ns: int
    ) -> None:
        """Start the clock of the goal."""
        self.instruction = instruction
        self._timeout_s, self._settings, self._start_ns = timeout_s, settings, now_ns
        self._worked_ns: int | None = None  # last report of work on the goal
        self._done_since_ns: int | None = None
        self._refusal = RefusalSignal(settings.refusal)
        self._grounding = 1.0
        self._report: GateReport | None = None
        self._progress = 0.0
        self._verdict: Verdict | None = None

    @property
    def verdict(self) -> Verdict | None:
        """How the goal ended; None while it runs."""
        return self._verdict

    def observe(self, report: GateReport) -> None:
        """Take note of a gate status; called for each one that arrives."""
        if self._verdict is not None:
            return
        self._report = report
        if report.operated:
            self._worked_ns = report.received_ns
        if not self._is_work(report):
            self._done_since_ns = None
            self._refusal.interrupt()
            return
        self._worked_ns, self._progress = report.received_ns, report.progress
        if not self._refusal.given:
            self._hear_grounding(report)
        if report.progress < self._settings.done_progress:
            self._done_since_ns = None
        elif self._done_since_ns is None:
            self._done_since_ns = report.received_ns

    def check(self, now_ns: int) -> Verdict | None:
        """Return the verdict if the goal has ended by `now_ns` [ns]; called periodically."""
        if self._verdict is None:
            ending = self._stopped() or self._refused() or self._done(now_ns)
            ending = ending or self._held(now_ns) or self._timed_out(now_ns)
            if ending is not None:
                self.end(*ending, now_ns=now_ns)
        return self._verdict

    def end(self, outcome: Outcome, message: str, *, now_ns: int) -> Verdict:
        """End the goal from outside (cancel, pre-emption, a failure) and return its verdict."""
        if self._verdict is None:
            self._verdict = Verdict(
                outcome=outcome,
                message=message,
                duration_s=self.elapsed_s(now_ns),
                progress=self._progress,
            )
        return self._verdict

    def feedback(self, now_ns: int) -> Feedback:
        """Return what to tell the client at `now_ns` [ns]."""
        return Feedback(
            step=self.instruction,
            reason=self._reason(now_ns),
            progress=self._progress,
            elapsed_s=self.elapsed_s(now_ns),
        )

    def elapsed_s(self, now_ns: int) -> float:
        """Return the time since acceptance in [s]."""
        return (now_ns - self._start_ns) / NS_PER_S

    def _is_work(self, report: GateReport) -> bool:
        taken_after_start = (
            report.received_ns - report.chunk_age_s * NS_PER_S > self._start_ns
        )  # false for NaN
        return (
            report.state is GateState.EXECUTING
            and report.instruction == self.instruction
            and taken_after_start
            and 0.0 <= report.progress <= 1.0  # false for NaN
        )

    def _stopped(self) -> tuple[Outcome, str] | None:
        if self._report is None or self._report.state is not GateState.ESTOP:
            return None
        return Outcome.HELD, f"the gate is in emergency stop: {self._report.reason}"

    def _hear_grounding(self, report: GateReport) -> None:
        """Count observed time: one chunk that is executed for long is one opinion."""
        self._grounding = report.grounding
        self._refusal.hear(report.grounding, report.received_ns / NS_PER_S - report.chunk_age_s)

    def _refused(self) -> tuple[Outcome, str] | None:
        if not self._refusal.given:
            return None
        message = (
            f'what "{self.instruction}" names is not on the table, as far as the policy sees: its '
            f"grounding is {self._grounding:.2f}, below {self._settings.refusal.below:.2f}"
        )
        return Outcome.NOT_FOUND, message

    def _done(self, now_ns: int) -> tuple[Outcome, str] | None:
        """Count only reported time: silence after a high progress proves nothing."""
        since, last = self._done_since_ns, self._worked_ns
        if (
            self._refusal.pending
            or since is None
            or last is None
            or last - since < self._settings.done_for_s * NS_PER_S
        ):
            return None
        lasted_s = (last - since) / NS_PER_S
        message = (
            f"the policy reports progress {self._progress:.2f} for {lasted_s:.1f} s "
            f"after {self.elapsed_s(now_ns):.1f} s"
        )
        return Outcome.SUCCEEDED, message

    def _held(self, now_ns: int) -> tuple[Outcome, str] | None:
        settings, worked = self._settings, self._worked_ns
        since = self._start_ns if worked is None else worked
        allowed_s = settings.start_grace_s if worked is None else settings.held_after_s
        idle_s = (now_ns - since) / NS_PER_S
        if idle_s <= allowed_s:
            return None
        return Outcome.HELD, f"nothing was executed for {idle_s:.1f} s: {self._gate_says(now_ns)}"

    def _timed_out(self, now_ns: int) -> tuple[Outcome, str] | None:
        if self.elapsed_s(now_ns) < self._timeout_s:
            return None
        message = (
            f"not done after {self._timeout_s:.1f} s; the policy reports progress "
            f"{self._progress:.2f}, done is {self._settings.done_progress:.2f}"
        )
        return Outcome.TIMED_OUT, message

    def _reason(self, now_ns: int) -> str:
        if self._verdict is not None:
            return self._verdict.message
        if self._worked_ns is None:
            return f"waiting for the policy: {self._gate_says(now_ns)}"
        if self._report is not None and not self._is_work(self._report):
            return f"the arm holds: {self._gate_says(now_ns)}"
        if self._done_since_ns is not None:
            return "the policy reports that it is done; waiting whether it stays so"
        return "the policy is working on it"

    def _gate_says(self, now_ns: int) -> str:
        report = self._report
        if report is None:
            return "no word from the gate yet"
        silent_s = (now_ns - report.received_ns) / NS_PER_S
        if silent_s > 1.0:
            return f"the gate has been silent for {silent_s:.1f} s; is it running?"
        if report.state is GateState.EXECUTING and report.instruction != self.instruction:
            return f'the gate still executes "{report.instruction}"'
        if report.state is GateState.EXECUTING:
            return "the gate executes, but no chunk of this goal"
        return f"the gate holds: {report.reason}"
