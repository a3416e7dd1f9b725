"""One policy's schedule: a scheduler, what its inferences take, and what came too late."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from vla_ros.core.errors import UserError
from vla_ros.core.protocols import Continuing, Policy
from vla_ros.core.types import ActionChunk, ChunkPrefix, Observation
from vla_ros.engine.scheduling.asynchronous import Asynchronous
from vla_ros.engine.scheduling.deadline import Deadline
from vla_ros.engine.scheduling.delay import DelayEstimator
from vla_ros.engine.scheduling.ensemble import TemporalEnsemble
from vla_ros.engine.scheduling.horizon import ExecutionHorizon, disagreement
from vla_ros.engine.scheduling.real_time import RealTime
from vla_ros.engine.scheduling.scheduler import Scheduler
from vla_ros.engine.scheduling.synchronous import Synchronous

#: How chunks become motion, by name; each is made with the estimate of the delay.
SCHEDULERS: dict[str, Callable[[DelayEstimator], Scheduler]] = {
    "asynchronous": lambda delay: Asynchronous(),
    "synchronous": lambda delay: Synchronous(),
    "ensemble": lambda delay: TemporalEnsemble(),
    "real_time": lambda delay: RealTime(delay),
    "real_time_trained": lambda delay: RealTime(delay, trained=True),
}
#: What a policy has to offer for it; see `Continuing`.
NEEDED = {"real_time": "prefix_weight", "real_time_trained": "prefix_known"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSettings:
    """How the chunks of a slow policy become motion.

    Attributes:
        scheduling: One of `SCHEDULERS`.
        deadline_s: Longest time from observation to gate [s], after which a chunk is not executed;
            0 for none.
        most_rows: Rows of a chunk that are executed at most before the next inference begins,
            where the chunks agree; 0 for as many as the delay allows. 1: as often as possible.
    """

    scheduling: str = "asynchronous"
    deadline_s: float = 0.0
    most_rows: int = 1

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            UserError: names the setting, what was expected and what came.
        """
        if self.scheduling not in SCHEDULERS:
            raise UserError(
                f"scheduling {self.scheduling!r} does not exist; choose " + " or ".join(SCHEDULERS)
            )
        Deadline(self.deadline_s)
        ExecutionHorizon(most=self.most_rows)


class Schedule:
    """Asked by what runs a policy: when to infer, from what, and what to make of the chunk.

    One inference at a time. It has no thread and reads no clock; the counts may be read from any
    thread.
    """

    def __init__(self, settings: ScheduleSettings | None = None) -> None:
        """Make it; None takes the usual settings."""
        self.settings = settings or ScheduleSettings()
        self.delay = DelayEstimator()
        self.deadline = Deadline(self.settings.deadline_s)
        self._scheduler = SCHEDULERS[self.settings.scheduling](self.delay)
        self._horizon = ExecutionHorizon(most=self.settings.most_rows)
        self._chunk: ActionChunk | None = None
        self._next_ns: int | None = None
        self._begun_ns = 0

    def require(self, policy: Policy) -> None:
        """Refuse a policy that lacks what the scheduling needs.

        Raises:
            UserError: naming both.
        """
        needed = NEEDED.get(self.settings.scheduling)
        offered = policy.prefix_parts if isinstance(policy, Continuing) else ()
        if needed is not None and needed not in offered:
            raise UserError(
                f"scheduling {self.settings.scheduling} needs a policy that goes on from a begun "
                f"chunk ({needed}), and '{policy.name}' does not; take one with the head flow"
                + (" that was trained with flow_delay" if needed == "prefix_known" else "")
                + ", or another scheduling"
            )

    def due(self, now_ns: int) -> bool:
        """Return whether an inference may begin with an observation of now."""
        if now_ns < self._begun_ns:
            self.forget()  # time was set back: a simulation began anew
        if self._next_ns is not None and now_ns < self._next_ns:
            return False
        return self._scheduler.due(now_ns)

    def infer(self, policy: Policy, observation: Observation) -> ActionChunk:
        """Return the policy's chunk for an observation, going on from what is executed.

        Raises:
            ObservationError: if the policy refuses the observation.
            InferenceFailed: if the inference brought nothing.
        """
        prefix = self.prefix(observation.stamp_ns)
        if prefix is None or not isinstance(policy, Continuing):
            return policy.infer(observation)
        return policy.go_on(observation, prefix)

    def prefix(self, stamp_ns: int) -> ChunkPrefix | None:
        """Return what the policy is to go on from, for an observation of this time [ns]."""
        self._begun_ns = stamp_ns
        return self._scheduler.prefix(stamp_ns)

    def finish(self, chunk: ActionChunk, now_ns: int) -> ActionChunk | None:
        """Return what the gate is to execute; None if it came too late and goes on as before."""
        delay_s = max(0.0, (now_ns - chunk.stamp_ns) * 1e-9)
        self.delay.hear(delay_s)
        if not self.deadline.met(delay_s):
            return None
        if self._chunk is None or self._chunk.end_ns <= now_ns:
            # the robot stood, so the plan from there begins when it comes, not in its middle
            chunk = replace(chunk, stamp_ns=max(now_ns, chunk.stamp_ns))
        before, self._chunk = self._chunk, chunk
        apart = disagreement(before, chunk)
        rows = self._horizon.rows(chunk, self.delay.estimate_s, apart)
        self._next_ns = None
        if rows > 1:  # one row is what back-to-back inference executes at least
            self._next_ns = chunk.stamp_ns + round(rows * chunk.step_s * 1e9)
        return self._scheduler.take(chunk, now_ns)

    def describe(self) -> dict[str, str | float | int]:
        """Return what a report says of it, by name."""
        return {
            "scheduling": self.settings.scheduling,
            "expected_delay_ms": round(1e3 * self.delay.estimate_s, 1),
            "missed_deadlines": self.deadline.misses,
        }

    def forget(self) -> None:
        """Forget all chunks; called when another instruction or policy comes."""
        self._chunk, self._next_ns, self._begun_ns = None, None, 0
        self._scheduler.forget()
