"""What waits for the thread that writes: messages, within a bound, and what it is asked to do."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from vla_ros.data.recording.settings import Arrival

Value = TypeVar("Value")
#: Of a message's memory what is not its data [bytes]; roughly.
OVERHEAD = 300


class Request:
    """Something that is to be done in turn, and its outcome."""

    def __init__(self, act: Callable[[], Any]) -> None:
        """Prepare to call `act`."""
        self._act = act
        self.future: Future[Any] = Future()

    def run(self, then: Callable[[], None]) -> None:
        """Call it, and `then` what follows; whoever waits gets its value, or its exception."""
        try:
            value = self._act()
            then()
        except Exception as error:  # noqa: BLE001 whoever waits is told
            self.future.set_exception(error)
        else:
            self.future.set_result(value)


class Inbox:
    """A queue between threads. Messages beyond its bound are refused and counted."""

    def __init__(self, limit: int) -> None:
        """Hold messages up to `limit` [bytes]."""
        self._limit = limit
        self._items: deque[Arrival | Request] = deque()
        self._ready = threading.Condition()
        self._refused: Counter[str] = Counter()
        self.waiting = 0
        self.most = 0

    def put(self, arrival: Arrival) -> bool:
        """Append a message; return False if there is no room."""
        size = len(arrival.data) + OVERHEAD
        with self._ready:
            if self.waiting + size > self._limit:
                self._refused[arrival.topic] += 1
                return False
            self.waiting += size
            self.most = max(self.most, self.waiting)
            self._items.append(arrival)
            self._ready.notify()
        return True

    def ask(self, act: Callable[[], Value]) -> Future[Value]:
        """Have something done after the messages that came before; requests always fit."""
        request = Request(act)
        with self._ready:
            self._items.append(request)
            self._ready.notify()
        return request.future

    def take(self, timeout_s: float) -> list[Arrival | Request]:
        """Return what waits, and wait `timeout_s` [s] for it if nothing does."""
        with self._ready:
            if not self._items:
                self._ready.wait(timeout_s)
            found = list(self._items)
            self._items.clear()
        return found

    def done(self, arrival: Arrival) -> None:
        """Make room: a message that was taken is not needed any more."""
        with self._ready:
            self.waiting -= len(arrival.data) + OVERHEAD

    def refused(self) -> dict[str, int]:
        """Return how many messages found no room, by topic."""
        with self._ready:
            return dict(self._refused)
