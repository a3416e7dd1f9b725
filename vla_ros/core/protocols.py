"""The protocols that separate the layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from vla_ros.core.demonstration import Demonstration
from vla_ros.core.engine_report import EngineReport
from vla_ros.core.types import ActionChunk, ChunkPrefix, Observation, UInt8Array


@runtime_checkable
class Policy(Protocol):
    """Turns observations into action chunks for one instruction at a time."""

    @property
    def name(self) -> str:
        """Name of the bundle."""
        ...

    @property
    def bundle_sha256(self) -> str:
        """Hash of the bundle, so that results can name what made them."""
        ...

    def start(self, instruction: str) -> None:
        """Take a new instruction and forget the previous one; called before the first `infer`.

        Raises:
            InstructionRejected: if the policy cannot be given this instruction.
        """
        ...

    def infer(self, observation: Observation) -> ActionChunk:
        """Return the chunk for one observation; called at the policy's rate.

        Raises:
            ObservationError: if a required feature is missing or malformed; names it.
        """
        ...


@runtime_checkable
class Attentive(Protocol):
    """What a policy may offer beside `Policy`: to show what it looks at."""

    def draw_attention(self, observation: Observation, camera: str) -> UInt8Array | None:
        """Return the image of a camera with what was last looked at in it drawn over it.

        Called after `infer`, with its observation, and only while somebody watches.

        Args:
            observation: Of the last inference.
            camera: Name of the camera; None comes back for one that the policy does not read.
        """
        ...


@runtime_checkable
class Reporting(Protocol):
    """What a policy may offer beside `Policy`: to say what runs it."""

    def report_engines(self) -> tuple[EngineReport, ...]:
        """Return what runs each of its graphs now; called at any time, from any thread."""
        ...


@runtime_checkable
class Closable(Protocol):
    """What a policy may offer beside `Policy`: to free what it holds, above all on a GPU."""

    def close(self) -> None:
        """Free what is held; called once, when nothing is inferred any more."""
        ...


@runtime_checkable
class Noticing(Protocol):
    """What a policy may offer beside `Policy`: to have a past without an inference each time."""

    def notice(self, observation: Observation) -> None:
        """Take note of an observation for which no chunk is wanted.

        Called in place of `infer`, in the order of time: velocities are told from what was sensed
        shortly before.

        Raises:
            ObservationError: if what is noted is malformed; names it.
        """
        ...


@runtime_checkable
class Continuing(Protocol):
    """What a policy may offer beside `Policy`: to go on from what is executed meanwhile."""

    @property
    def prefix_parts(self) -> tuple[str, ...]:
        """What of a prefix it heeds: `prefix_weight`, `prefix_known`; empty if nothing."""
        ...

    def go_on(self, observation: Observation, prefix: ChunkPrefix) -> ActionChunk:
        """Return the chunk for one observation that begins like the prefix.

        Called in place of `infer`, and only with what `prefix_parts` names.

        Raises:
            ObservationError: if a required feature is missing or malformed; names it.
            ValueError: if the prefix has another shape than its chunks.
        """
        ...


@runtime_checkable
class Promptable(Protocol):
    """What a policy may offer beside `Policy`: to be shown what words mean, without training."""

    def show(self, demonstrations: Sequence[Demonstration]) -> None:
        """Take demonstrations of what instructions ask for; an empty sequence forgets them.

        Called between instructions; they count from the next `start` on, until others are shown.

        Raises:
            UserError: if they cannot be used; those before stay.
        """
        ...
