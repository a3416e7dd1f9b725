"""How much of a chunk is executed before the next inference begins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vla_ros.core.errors import UserError
from vla_ros.core.types import ActionChunk
from vla_ros.engine.chunk_times import later


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionHorizon:
    """Few rows where the policy changes its mind, many where it does not.

    Inferring as often as possible is not always best: it costs, and each chunk that replaces
    another may want something else. What bounds it from above is the delay: the next chunk must
    come before this one has run out.

    Attributes:
        least: Rows that are executed in any case.
        most: Rows that are executed at most; 0 for as many as the delay allows.
        tolerance_rad: How far two chunks may be apart in the rows that both have [rad]; from
            there on as little as possible is executed.
        spare: Rows that should be left when the next chunk comes.
    """

    least: int = 1
    most: int = 1
    tolerance_rad: float = 0.1
    spare: int = 2

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: naming them.
        """
        if self.least < 1 or (self.most and self.most < self.least) or self.most < 0:
            raise UserError(
                f"executed rows: least is {self.least} and most {self.most}; expected 1 or more, "
                "and as many or more (0: as many as possible)"
            )
        if not 0.0 < self.tolerance_rad < math.inf or self.spare < 0:
            raise UserError(
                f"tolerance_rad is {self.tolerance_rad} and spare {self.spare}; expected above 0, "
                "and 0 or more"
            )

    def rows(self, chunk: ActionChunk, delay_s: float, apart_rad: float) -> int:
        """Return how many rows are executed before the next inference begins.

        Args:
            chunk: What is executed.
            delay_s: What the next inference will take [s].
            apart_rad: How far it was from the chunk before it; see `disagreement`.
        """
        room = chunk.horizon - math.ceil(delay_s / chunk.step_s - 1e-6) - self.spare
        most = min(room, self.most) if self.most else room
        trust = 1.0 - min(1.0, apart_rad / self.tolerance_rad)
        return max(self.least, math.floor(trust * most + 1e-9))


def disagreement(before: ActionChunk | None, chunk: ActionChunk) -> float:
    """Return how far two chunks are apart where both say something, at most [rad].

    Infinite where they have no time in common: nothing is known of how they agree.
    """
    if before is None or not before.stamp_ns <= chunk.stamp_ns < before.end_ns:
        return math.inf
    if (before.end_ns - chunk.stamp_ns) * 1e-9 < before.step_s * (1 - 1e-6):
        return math.inf
    left = later(before, chunk.stamp_ns).positions
    count = min(len(left), chunk.horizon)
    if left.shape[1:] != chunk.positions.shape[1:]:
        return math.inf
    return float(np.abs(left[:count] - chunk.positions[:count]).max())
