"""Infer all the time, and replace what is executed as soon as a chunk comes."""

from __future__ import annotations

from vla_ros.core.types import ActionChunk, ChunkPrefix


class Asynchronous:
    """Chunks are indexed by time: rows that have passed when one comes are never executed.

    Two chunks in a row need not want the same: the later the second one comes, the more may have
    changed that it does not know of. The gate fades from one into the other.
    """

    def due(self, now_ns: int) -> bool:
        """Return True: as often as possible."""
        del now_ns
        return True

    def prefix(self, stamp_ns: int) -> ChunkPrefix | None:
        """Return None: every chunk is decided by itself."""
        del stamp_ns
        return None

    def take(self, chunk: ActionChunk, now_ns: int) -> ActionChunk:
        """Return the chunk."""
        del now_ns
        return chunk

    def forget(self) -> None:
        """Do nothing: there is nothing to forget."""
