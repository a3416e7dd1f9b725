"""A thread that does one thing at a fixed rate on an absolute deadline, and knows its jitter."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: The last part of each wait is spun, since a sleeping thread is woken some 50 us late [ns].
SPIN_NS = 120_000
#: Number of ticks that the statistics look back on (10 s at 100 Hz).
WINDOW = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class JitterStatistics:
    """How late ticks finished against their deadline in [ms], over the last `samples` ticks."""

    samples: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Jitter:
    """Ring of latenesses. One thread records, another may summarize."""

    def __init__(self, window: int = WINDOW) -> None:
        """Look back on `window` ticks."""
        self._ring = np.zeros(window)
        self._count = 0

    def record(self, lateness_ns: int) -> None:
        """Add one tick's lateness [ns]."""
        self._ring[self._count % len(self._ring)] = lateness_ns
        self._count += 1

    def summarize(self) -> JitterStatistics:
        """Return the statistics of the window."""
        late = np.abs(self._ring[: min(self._count, len(self._ring))]) * 1e-6
        if not len(late):
            return JitterStatistics(samples=0, p50_ms=0.0, p99_ms=0.0, max_ms=0.0)
        p50, p99 = np.percentile(late, (50, 99))
        return JitterStatistics(
            samples=len(late), p50_ms=float(p50), p99_ms=float(p99), max_ms=float(late.max())
        )


def prefer_this_process(priority: int) -> str:
    """Ask for real-time scheduling of the whole process; return what was granted, in words.

    The whole process and not just one thread: a thread that holds the interpreter lock at normal
    priority would make the real-time thread wait for it. Threads inherit the policy, so call this
    before any is started.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        return (
            "normal scheduling (no permission for SCHED_FIFO: allow rtprio in "
            "/etc/security/limits.conf for less jitter)"
        )
    return f"SCHED_FIFO priority {priority}"


class PeriodicThread:
    """Calls `tick(deadline_ns)` at a fixed rate on the monotonic clock, from its own thread.

    Deadlines are absolute, so lateness does not add up; after a stall of more than one period the
    missed ticks are skipped, not made up for. The garbage collector is frozen and left to the
    idle time between ticks.
    """

    def __init__(
        self,
        tick: Callable[[int], None],
        *,
        rate_hz: float,
        name: str,
        on_error: Callable[[BaseException], None],
        priority: int | None = None,
    ) -> None:
        """Prepare the thread.

        Args:
            tick: Called with the deadline it was due at in monotonic [ns].
            rate_hz: Calls per second.
            name: Of the thread.
            on_error: Called once, from the thread, with what ended it if that was an exception.
            priority: SCHED_FIFO priority of the thread, where permitted; None leaves it.
        """
        self._tick = tick
        self._period_ns = round(1e9 / rate_hz)
        self._on_error = on_error
        self._priority = priority
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.jitter = Jitter()

    def start(self) -> None:
        """Start ticking."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """Stop ticking and wait for the thread; harmless when it never ran."""
        self._stop.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._loop()
        except Exception as error:  # noqa: BLE001 the thread's edge: whatever ended it is handed on
            self._on_error(error)

    def _loop(self) -> None:
        if self._priority is not None:
            with contextlib.suppress(PermissionError):  # prefer_this_process has said so
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(self._priority))
        sys.setswitchinterval(0.0005)
        gc.collect()
        gc.freeze()
        deadline = time.monotonic_ns() + self._period_ns
        while not self._stop.is_set():
            wait_until(deadline)
            self._tick(deadline)
            now = time.monotonic_ns()
            self.jitter.record(now - deadline)
            deadline += self._period_ns
            if now >= deadline:
                deadline += ((now - deadline) // self._period_ns + 1) * self._period_ns


def wait_until(deadline_ns: int) -> None:
    """Return at `deadline_ns` of the monotonic clock [ns]: sleep first, spin the last stretch."""
    remaining = deadline_ns - time.monotonic_ns() - SPIN_NS
    if remaining > 0:
        time.sleep(remaining * 1e-9)
    while time.monotonic_ns() < deadline_ns:
        pass
