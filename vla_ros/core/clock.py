"""Clocks that are handed in, so that nothing below the nodes reads the time by itself."""

from __future__ import annotations

import time
from typing import Protocol, runtime_checkable


@runtime_checkable
class Clock(Protocol):
    """A source of time that never goes backwards."""

    def now_ns(self) -> int:
        """Return the present time in [ns]; only differences have a meaning."""
        ...


class MonotonicClock:
    """The machine's monotonic clock."""

    def now_ns(self) -> int:
        """Return the machine's monotonic time in [ns]."""
        return time.monotonic_ns()


class ManualClock:
    """A clock that moves only when it is told to: for simulation and tests."""

    def __init__(self, start_ns: int = 0) -> None:
        """Start at `start_ns` [ns]."""
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Return the time it was set to, in [ns]."""
        return self._now_ns

    def advance(self, duration_ns: int) -> int:
        """Move forward by `duration_ns` [ns] and return the new time.

        Raises:
            ValueError: if `duration_ns` is negative.
        """
        if duration_ns < 0:
            raise ValueError(f"a clock moves forward only: duration_ns is {duration_ns}")
        self._now_ns += duration_ns
        return self._now_ns
