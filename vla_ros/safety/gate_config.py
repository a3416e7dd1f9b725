"""What the gate tolerates, and what it answers with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from vla_ros.core.types import FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class GateConfig:
    """Times and distances that the gate tolerates.

    Attributes:
        blend_s: Shortest fade from the present motion onto a new chunk in [s].
        max_chunk_age_s: Oldest observation whose chunk is still accepted in [s].
        max_chunk_lead_s: How far in the future the stamp of a chunk or of a joint state may lie
            in [s].
        max_chunk_s: Longest chunk, from its stamp to its last row, in [s].
        min_step_s: Shortest time between two rows of a chunk in [s].
        max_state_age_s: Oldest measured joint state that still counts in [s].
        max_jump_s: The first row that is still ahead may be as far from the command as the
            velocity limit covers in this time in [s].
        following_error_rad: Largest distance between command and measurement per joint in [rad],
            before the gate holds; empty to tolerate any (a gripper closes on things).
    """

    blend_s: float = 0.1
    max_chunk_age_s: float = 0.5
    max_chunk_lead_s: float = 0.05
    max_chunk_s: float = 5.0
    min_step_s: float = 0.001
    max_state_age_s: float = 0.1
    max_jump_s: float = 0.5
    following_error_rad: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check that every time is finite and above 0.

        Raises:
            ValueError: naming the value.
        """
        for key in (
            "blend_s",
            "max_chunk_age_s",
            "max_chunk_lead_s",
            "max_chunk_s",
            "min_step_s",
            "max_state_age_s",
            "max_jump_s",
        ):
            value = getattr(self, key)
            if not (np.isfinite(value) and value > 0.0):
                raise ValueError(f"{key} must be above 0, got {value}")
        if not all(value > 0.0 for value in self.following_error_rad):
            raise ValueError(f"following_error_rad must be above 0: {self.following_error_rad}")


class GateState(IntEnum):
    """What the gate does; the numbers are those of `GateStatus.msg`."""

    HOLD = 0
    EXECUTING = 1
    ESTOP = 2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Command:
    """What the gate decided in one tick.

    Attributes:
        positions: What to send in [rad], shape (n,); None as long as the gate does not know where
            the robot is, and nothing may be sent.
        state: What the gate does.
        reason: Why it does not execute; "" while it does.
        limited: Whether a limit changed what the chunk asked for.
    """

    positions: FloatArray | None
    state: GateState
    reason: str
    limited: bool
