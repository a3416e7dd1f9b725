"""Counting what arrives against what the contract promises."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

#: Below this part of the promised rate a stream counts as short.
TOLERATED = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class RateReport:
    """What arrived in the last window.

    Attributes:
        received: Messages that arrived.
        expected: Messages that the contract promises for the same time.
        rate_hz: Measured rate [Hz].
        short: Whether clearly too few arrived.
    """

    received: int
    expected: float
    rate_hz: float
    short: bool


class RateMonitor:
    """Arrivals of one stream over a sliding window. One thread may count while another reports."""

    def __init__(self, expected_hz: float, window_s: float = 3.0) -> None:
        """Expect `expected_hz` [Hz], judged over `window_s` [s]."""
        self.expected_hz = expected_hz
        self._window_ns = round(window_s * 1e9)
        self._arrivals: deque[int] = deque()
        self._lock = threading.Lock()
        self._started_ns: int | None = None
        self._first = True

    def start(self, now_ns: int) -> None:
        """Begin to expect messages at `now_ns` [ns].

        The rate is judged from the first message on: a driver may start later.
        """
        self._started_ns = now_ns
        self._first = True
        self._arrivals.clear()

    def count(self, now_ns: int) -> None:
        """Take note of one message that arrived at `now_ns` [ns]."""
        if self._first:
            self._first = False
            self._started_ns = now_ns
        with self._lock:
            self._arrivals.append(now_ns)
            self._forget(now_ns)

    def report(self, now_ns: int) -> RateReport:
        """Return what arrived in the window that ends at `now_ns` [ns].

        Less than half a window after the start nothing counts as short yet.
        """
        with self._lock:
            self._forget(now_ns)
            received = len(self._arrivals)
        started_ns = self._started_ns if self._started_ns is not None else now_ns
        span_ns = min(self._window_ns, max(now_ns - started_ns, 1))
        expected = self.expected_hz * span_ns * 1e-9
        ripe = span_ns >= self._window_ns // 2
        return RateReport(
            received=received,
            expected=expected,
            rate_hz=received / (span_ns * 1e-9),
            short=ripe and received < TOLERATED * expected,
        )

    def _forget(self, now_ns: int) -> None:
        while self._arrivals and self._arrivals[0] < now_ns - self._window_ns:
            self._arrivals.popleft()
