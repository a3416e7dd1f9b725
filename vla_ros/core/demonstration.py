"""One time that somebody did what an instruction asks for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vla_ros.core.errors import UserError
from vla_ros.core.types import Observation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Demonstration:
    """What was seen before anything was moved, and where that which was acted on stood then.

    Attributes:
        observation: At the beginning. What finds the thing again is the front camera's image.
        xyz: Where the thing stood [m], in the base frame, (3,).
    """

    observation: Observation
    xyz: tuple[float, float, float]

    def __post_init__(self) -> None:
        """Check the place.

        Raises:
            UserError: if it is no place; says what came.
        """
        if len(self.xyz) != 3 or not all(math.isfinite(value) for value in self.xyz):
            raise UserError(
                "a demonstration's xyz is where it acted: expected 3 finite numbers [m] in the "
                f"base frame, got {list(self.xyz)}"
            )
