"""How long a server takes to answer, and what of it never came."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

#: Percentiles are of so many answers at most, the last ones.
REMEMBERED = 1000
#: An answer that has not come after so many further questions is lost.
MOST_OVERDUE = 1000


class RoundTrips:
    """Counts questions and their answers; any thread may ask."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._times_ms: deque[float] = deque(maxlen=REMEMBERED)
        self._overdue: dict[int, None] = {}  # in the order of time
        self._sent = self._late = self._lost = 0

    def send(self) -> None:
        """Count a question."""
        with self._lock:
            self._sent += 1

    def answer(self, seconds: float) -> None:
        """Note how long an answer that came in time took in [s]."""
        with self._lock:
            self._times_ms.append(1e3 * seconds)

    def miss(self, sequence: int) -> None:
        """Note that the answer to a question did not come in time; it still may."""
        with self._lock:
            self._overdue[sequence] = None
            if len(self._overdue) > MOST_OVERDUE:
                self._overdue.pop(next(iter(self._overdue)))
                self._lost += 1

    def come_late(self, sequence: int) -> None:
        """Note that an answer came after its deadline."""
        with self._lock:
            if sequence in self._overdue:
                del self._overdue[sequence]
                self._late += 1

    def lose(self, unanswered: int) -> None:
        """Note that a connection ended: what was still awaited, or overdue, will not come."""
        with self._lock:
            self._lost += unanswered + len(self._overdue)
            self._overdue.clear()

    def notes(self) -> dict[str, str]:
        """Return p50 and p99 of the last answers in [ms], and what was sent, late and lost."""
        with self._lock:
            times = list(self._times_ms)
            counts = {
                "sent": self._sent,
                "late": self._late,
                "lost": self._lost,
                "overdue": len(self._overdue),
            }
        notes = {name: str(count) for name, count in counts.items()}
        if times:
            p50, p99 = np.percentile(times, (50, 99))
            notes |= {"p50_ms": f"{p50:.2f}", "p99_ms": f"{p99:.2f}"}
        return notes
