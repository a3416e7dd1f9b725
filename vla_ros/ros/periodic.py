"""A thread that does one thing at a fixed rate on an absolute deadline, and knows its jitter."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.timer import Timer

#: The last part of each wait is spun, since a sleeping thread is woken some 50 us late [ns].
SPIN_NS = 120_000
#: Shortest time slice that Linux grants [ns].
SLICE_NS = 100_000
#: Number of the system call `sched_setattr`, for which Python has no function.
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
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
    priority would make the real-time thread wait for it. The threads that run get it, and those
    that they start inherit it. Without the permission short time slices are the next best thing:
    they need none, and a thread that wakes up is let in sooner (Linux 6.12 and later).
    """
    try:
        for thread in _threads():
            with contextlib.suppress(ProcessLookupError):  # it has ended just now
                os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        short = [_ask_for_short_slices(thread) for thread in _threads()]
        return (
            f"{'short time slices' if all(short) else 'normal scheduling'} (no permission for "
            "SCHED_FIFO: allow rtprio in /etc/security/limits.d for less jitter)"
        )
    return f"SCHED_FIFO priority {priority}"


def _threads() -> list[int]:
    """Return the system's numbers of the threads of this process."""
    return [int(entry.name) for entry in Path("/proc/self/task").iterdir()]


def _ask_for_short_slices(thread: int) -> bool:
    """Set the time slice of a thread and those it starts; return whether that was possible."""
    if platform.machine() not in SCHED_SETATTR:
        return False
    size, policy, flags, sched_priority = 48, os.SCHED_OTHER, 0, 0
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = struct.pack(
        "=IIQiIQQQ", size, policy, flags, nice, sched_priority, SLICE_NS, 0, 0
    )
    call = ctypes.CDLL(None, use_errno=True).syscall
    return bool(call(SCHED_SETATTR[platform.machine()], thread, attributes, 0) == 0)


def create_steady_timer(node: Node, period_s: float, callback: Callable[[], None]) -> Timer:
    """Return a timer of `node` that goes on when the wall clock is set or simulated time stops."""
    return node.create_timer(period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))


class PeriodicThread:
    """Prepares something before each deadline of a fixed rate, and acts on the deadline.

    Deadlines are absolute on the monotonic clock, so lateness does not add up; after a stall of
    more than one period the missed ones are skipped, not made up for. What has to be computed is
    computed `lead_s` ahead, so that neither the wake-up nor the computation delays the act.
    Objects that exist at the start are taken out of the garbage collector's sight.
    """

    def __init__(
        self,
        prepare: Callable[[int], None],
        act: Callable[[], None],
        *,
        rate_hz: float,
        lead_s: float,
        name: str,
        on_error: Callable[[BaseException], None],
        priority: int | None = None,
    ) -> None:
        """Prepare the thread.

        Args:
            prepare: Called `lead_s` before each deadline with that deadline in monotonic [ns].
            act: Called at each deadline.
            rate_hz: Deadlines per second.
            lead_s: Time for `prepare` [s].
            name: Of the thread.
            on_error: Called once, from the thread, with what ended it if that was an exception.
            priority: SCHED_FIFO priority of the thread, where permitted; None leaves it.
        """
        self._prepare = prepare
        self._act = act
        self._period_ns = round(1e9 / rate_hz)
        self._lead_ns = round(1e9 * lead_s)
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
            sleep_until(deadline - self._lead_ns)
            self._prepare(deadline)
            wait_until(deadline)
            self._act()
            now = time.monotonic_ns()
            self.jitter.record(now - deadline)
            deadline += self._period_ns
            if now >= deadline:
                deadline += ((now - deadline) // self._period_ns + 1) * self._period_ns


def sleep_until(deadline_ns: int) -> None:
    """Return at `deadline_ns` of the monotonic clock [ns], or a little later."""
    remaining = deadline_ns - time.monotonic_ns()
    if remaining > 0:
        time.sleep(remaining * 1e-9)


def wait_until(deadline_ns: int) -> None:
    """Return at `deadline_ns` of the monotonic clock [ns]: sleep first, spin the last stretch."""
    sleep_until(deadline_ns - SPIN_NS)
    while time.monotonic_ns() < deadline_ns:
        pass
