"""A policy that takes its time, in simulated time: one inference at a time, however long it takes.

What is sensed while an inference runs is lost to it, as on a robot whose computer is busy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vla_ros.core.errors import UserError
from vla_ros.core.protocols import Noticing, Policy
from vla_ros.core.types import ActionChunk, Observation
from vla_ros.engine.scheduling import Schedule
from vla_ros.sim.environment import STEP_S

#: Times this close are the same [ns].
_ROUNDING_NS = 1000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrival:
    """A chunk that comes between this observation and the next.

    Attributes:
        decided: What the policy decided.
        executed: What the gate is handed of it; None if it came too late.
        lag_s: How long after this observation [s].
    """

    decided: ActionChunk
    executed: ActionChunk | None
    lag_s: float


class DelayedPolicy:
    """Infers one observation at a time; the chunk is there `delay_s` later, and not before.

    An inference begins with the first observation for which the schedule wants one and the
    inference before it is over. It knows nothing but what the policy is given on a robot.
    """

    def __init__(self, policy: Policy, schedule: Schedule, delay_s: float = 0.0) -> None:
        """Let a policy decide.

        Args:
            policy: Who decides.
            schedule: How its chunks become motion.
            delay_s: From an observation to when the gate has the chunk made of it [s].

        Raises:
            UserError: if the delay is none, or the policy lacks what the schedule needs.
        """
        if not 0.0 <= delay_s < math.inf:
            raise UserError(f"delay is {delay_s}; expected 0 or a duration above 0 s")
        schedule.require(policy)
        self._policy, self._schedule = policy, schedule
        self._delay_ns = round(delay_s * 1e9)
        self._running: ActionChunk | None = None
        self._busy_until_ns = -1
        #: Inferences that were begun.
        self.inferences = 0

    @property
    def misses(self) -> int:
        """Chunks that came too late."""
        return self._schedule.deadline.misses

    def start(self, instruction: str) -> None:
        """Take a new instruction; an inference that runs goes on, and its chunk is dropped.

        Raises:
            InstructionRejected: if the policy cannot be given this instruction.
        """
        self._policy.start(instruction)
        self._schedule.forget()
        self._running = None

    def look(self, observation: Observation) -> list[Arrival]:
        """Take the next observation; return what comes before the one after it, in order.

        Raises:
            ObservationError: if the policy refuses the observation.
        """
        now_ns = observation.stamp_ns
        arrivals = self._arrivals(now_ns, now_ns)
        if now_ns >= self._busy_until_ns - _ROUNDING_NS and self._schedule.due(now_ns):
            self._running = self._schedule.infer(self._policy, observation)
            self._busy_until_ns = now_ns + self._delay_ns
            self.inferences += 1
            arrivals += self._arrivals(now_ns, now_ns)
        elif isinstance(self._policy, Noticing):
            self._policy.notice(observation)
        # what comes between two observations is handed over with the first of them
        until_ns = now_ns + round(STEP_S * 1e9) - 2 * _ROUNDING_NS
        return arrivals + self._arrivals(now_ns, until_ns)

    def _arrivals(self, now_ns: int, until_ns: int) -> list[Arrival]:
        chunk = self._running
        if chunk is None or self._busy_until_ns > until_ns + _ROUNDING_NS:
            return []
        self._running = None
        comes_ns = max(self._busy_until_ns, now_ns)
        executed = self._schedule.finish(chunk, comes_ns)
        lag_s = (comes_ns - now_ns) * 1e-9
        return [Arrival(decided=chunk, executed=executed, lag_s=lag_s)]
