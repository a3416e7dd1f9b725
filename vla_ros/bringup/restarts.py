"""What happens when a node ends by itself: how often it is started again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """What happens when a node ends by itself.

    A node that has run for `forgive_s` [s] starts with a clean record. The n-th restart in a row
    waits `delay_s` x 2^(n-1) [s] (`ros2 launch` always waits `delay_s`), and after `limit` of them
    the graph gives up.
    """

    delay_s: float = 0.2
    limit: int = 6
    forgive_s: float = 20.0


class FailureCount:
    """How often a node has ended by itself in a row."""

    def __init__(self, policy: RestartPolicy, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with a clean record.

        Args:
            policy: When a record is cleaned.
            clock: Monotonic time in [s].
        """
        self._policy = policy
        self._clock = clock
        self._since = clock()
        self._failures = 0

    def begin(self) -> None:
        """Note that the node starts."""
        self._since = self._clock()

    def fail(self) -> int:
        """Note that the node has ended, and return how often in a row."""
        now = self._clock()
        if now - self._since > self._policy.forgive_s:
            self._failures = 0
        self._since = now  # where nobody tells of starts, the next one follows at once
        self._failures += 1
        return self._failures
