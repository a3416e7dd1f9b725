"""Execute a chunk, stand, wait for the next: what everything else is compared with."""

from __future__ import annotations

from dataclasses import replace

from vla_ros.core.errors import UserError
from vla_ros.core.types import ActionChunk, ChunkPrefix


class Synchronous:
    """Infers only while the robot stands, so nothing changes while it does.

    Chunks are not indexed by time: each begins when it comes, wherever its observation was made.
    """

    def __init__(self, rows: int = 0) -> None:
        """Execute so many rows of each chunk; 0 for all.

        Raises:
            UserError: if it is less.
        """
        if rows < 0:
            raise UserError(f"executed rows: {rows}; expected 0 (all) or more")
        self._rows = rows
        self._until_ns: int | None = None

    def due(self, now_ns: int) -> bool:
        """Return whether the last chunk has been executed."""
        return self._until_ns is None or now_ns >= self._until_ns

    def prefix(self, stamp_ns: int) -> ChunkPrefix | None:
        """Return None: nothing is executed meanwhile."""
        del stamp_ns
        return None

    def take(self, chunk: ActionChunk, now_ns: int) -> ActionChunk:
        """Return the chunk as if its observation were of now."""
        rows = chunk.positions[: self._rows or None]
        begun = replace(chunk, stamp_ns=now_ns, positions=rows)
        self._until_ns = begun.end_ns
        return begun

    def forget(self) -> None:
        """Wait for nothing."""
        self._until_ns = None
