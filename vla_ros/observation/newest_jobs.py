"""Work that is done aside, of which only the newest counts: decoding, while messages go on."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable

Job = Callable[[], object]


class NewestJobs:
    """A few threads that do jobs by name. A job that waits is replaced by the next of its name.

    So nothing is ever queued behind slow work: what is done is what came last. Jobs of one name
    are done one at a time and in order, those of different names side by side.

    Attributes:
        replaced: Jobs that were never begun, by name.
    """

    def __init__(
        self, name: str, threads: int, on_error: Callable[[str, Exception], None]
    ) -> None:
        """Start the threads.

        Args:
            name: Of the threads.
            threads: How many.
            on_error: Called, in its thread, with the name of a job that raised, and what; the
                thread goes on.
        """
        self._changed = threading.Condition()
        self._waiting: OrderedDict[str, Job] = OrderedDict()
        self._busy: set[str] = set()
        self._closed = False
        self._on_error = on_error
        self.replaced: Counter[str] = Counter()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name} {index}", daemon=True)
            for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def closed(self) -> bool:
        """Whether it does nothing more."""
        return self._closed

    @property
    def pending(self) -> bool:
        """Whether a job waits or is being done."""
        with self._changed:
            return bool(self._waiting or self._busy)

    def submit(self, name: str, job: Job) -> None:
        """Have a job done in place of one of this name that still waits; never blocks for long."""
        with self._changed:
            if self._closed:
                return
            if name in self._waiting:
                self.replaced[name] += 1
            self._waiting[name] = job
            self._changed.notify()

    def close(self, timeout_s: float = 5.0) -> None:
        """Finish what was begun, forget what waits, and end the threads; called once or more."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout_s)

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            name, job = taken
            try:
                job()
            except Exception as error:  # noqa: BLE001 one bad job must not end the thread
                self._on_error(name, error)
            finally:
                with self._changed:
                    self._busy.discard(name)
                    self._changed.notify_all()
            del job, taken  # what it held is free while nothing is to be done

    def _take(self) -> tuple[str, Job] | None:
        """Wait for a job of a name of which none is being done; return None at the end."""
        with self._changed:
            while not self._closed:
                for name in self._waiting:
                    if name not in self._busy:
                        self._busy.add(name)
                        return name, self._waiting.pop(name)
                self._changed.wait()
        return None
