"""What the gate remembers: which chunks came, and what was commanded."""

from __future__ import annotations

from collections import deque

from vla_ros.core.types import FloatArray

REMEMBERED_S = 1.5


class StampOrder:
    """Which chunks are out of date: the chunks of one source come in the order of their stamps."""

    def __init__(self) -> None:
        """Take everything."""
        self._floor_ns: int | None = None
        self._newest_ns: dict[str, int] = {}

    def begin(self, floor_ns: int | None) -> None:
        """Forget what came; chunks stamped before `floor_ns` [ns] are out of date, if given."""
        self._floor_ns = floor_ns
        self._newest_ns.clear()

    def refuse_before(self, time_ns: int) -> None:
        """Chunks stamped before `time_ns` [ns] are out of date from now on, whoever made them."""
        self._floor_ns = max(time_ns, time_ns if self._floor_ns is None else self._floor_ns)

    def note(self, source: str, stamp_ns: int) -> None:
        """A chunk of a source was taken."""
        self._newest_ns[source] = stamp_ns

    def oldest_ns(self, source: str) -> int | None:
        """Return the stamp below which chunks of a source are out of date; None if none are."""
        floors = (self._floor_ns, self._newest_ns.get(source))
        return max((floor for floor in floors if floor is not None), default=None)


class RecentCommands:
    """The commands of the last moments, by time."""

    def __init__(self, dt_s: float) -> None:
        """Remember one command each `dt_s` [s]."""
        self._commands: deque[tuple[int, FloatArray]] = deque(maxlen=round(REMEMBERED_S / dt_s))

    def add(self, time_ns: int, command: FloatArray) -> None:
        """Remember the command of a time [ns]."""
        self._commands.append((time_ns, command))

    def at(self, time_ns: int, latest: FloatArray) -> FloatArray:
        """Return what was in force at a time [ns]: the oldest known if that is too long ago.

        Args:
            time_ns: The time.
            latest: What was in force if nothing is known.
        """
        found = latest
        for since_ns, command in reversed(self._commands):
            found = command
            if since_ns <= time_ns:
                break
        return found

    def clear(self) -> None:
        """Forget all."""
        self._commands.clear()
