"""The last seconds, in memory: an episode can be made of them after the fact."""

from __future__ import annotations

from collections import deque

from vla_ros.data.recording.inbox import OVERHEAD
from vla_ros.data.recording.settings import Arrival, latched_key


class Ring:
    """The newest messages, bounded in time and in memory.

    Of latched topics the last message before them is kept too: it is still in force.
    """

    def __init__(self, span_s: float, limit: int) -> None:
        """Keep `span_s` [s], and no more than `limit` [bytes]."""
        self._span_ns, self._limit = round(1e9 * span_s), limit
        self._items: deque[Arrival] = deque()
        self._before: dict[tuple[str, bytes], Arrival] = {}
        self._latched: set[str] = set()
        self.size = 0

    @property
    def span_s(self) -> float:
        """What is kept at present [s]."""
        if not self._items:
            return 0.0
        return 1e-9 * (self._items[-1].log_ns - self._items[0].log_ns)

    def add(self, arrival: Arrival, *, latched: bool) -> None:
        """Append a message, and forget what is too old or too much."""
        if latched:
            self._latched.add(arrival.topic)
        self._items.append(arrival)
        self.size += len(arrival.data) + OVERHEAD
        oldest_ns = arrival.log_ns - self._span_ns
        while self._items and (self._items[0].log_ns < oldest_ns or self.size > self._limit):
            gone = self._items.popleft()
            self.size -= len(gone.data) + OVERHEAD
            if gone.topic in self._latched:
                self._before[latched_key(gone)] = gone

    def latest(self, span_s: float) -> list[Arrival]:
        """Return the messages of the last `span_s` [s]; all that are kept for 0.

        Latched ones that were in force then come first, as if they had come at that time.
        """
        if not self._items:
            return []
        begin_ns = self._items[-1].log_ns - round(1e9 * span_s) if span_s else 0
        before, found = dict(self._before), []
        for item in self._items:
            if item.log_ns >= begin_ns:
                found.append(item)
            elif item.topic in self._latched:
                before[latched_key(item)] = item
        first_ns = found[0].log_ns
        return [item._replace(log_ns=first_ns) for item in before.values()] + found

    def clear(self) -> None:
        """Forget all but what is latched."""
        for item in self._items:
            if item.topic in self._latched:
                self._before[latched_key(item)] = item
        self._items.clear()
        self.size = 0
