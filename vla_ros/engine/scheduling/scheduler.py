"""What a scheduler is: how the chunks of a policy that takes its time become motion."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from vla_ros.core.types import ActionChunk, ChunkPrefix


@runtime_checkable
class Scheduler(Protocol):
    """Decides when to infer, from what the policy goes on, and what the gate executes.

    It has no thread and reads no clock. One inference at a time: `prefix`, then `take`, or nothing
    if the inference brought nothing or was too late. All times are of the observations' clock.
    """

    def due(self, now_ns: int) -> bool:
        """Return whether an inference may begin with an observation of now; asked while idle."""
        ...

    def prefix(self, stamp_ns: int) -> ChunkPrefix | None:
        """Return what the policy is to go on from; asked when an inference begins.

        Args:
            stamp_ns: Of its observation [ns].
        """
        ...

    def take(self, chunk: ActionChunk, now_ns: int) -> ActionChunk:
        """Return what the gate is to execute from now on; called when an inference has ended."""
        ...

    def forget(self) -> None:
        """Forget all chunks; called when another instruction or policy comes."""
        ...
