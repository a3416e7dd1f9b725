"""The protocols that separate the layers."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from vla_ros.core.types import ActionChunk, Observation


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
