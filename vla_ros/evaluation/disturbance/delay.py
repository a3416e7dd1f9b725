"""Sensors whose readings come late, and a policy whose chunks do."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from numpy.random import Generator

from vla_ros.core.types import Observation
from vla_ros.evaluation.disturbance.base import Disturbance, Filter

_WORDS = {
    "images": "colour frames of both cameras are",
    "depths": "depth frames of both cameras are",
    "imu": "IMU readings are",
    "state": "joint positions are",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Late(Disturbance):
    """One modality's readings arrive late, from a driver that stamps them on arrival.

    The policy takes them for the present; everything else it senses is the present. With right
    stamps nothing would be late: observations are put together by stamp. Before anything could
    have arrived, the first reading stands in.

    Attributes:
        feature: Of `Observation`: `images`, `depths`, `imu` or `state`.
        delay_s: How late [s]; 0.1 is about the oldest age that the contract lets pass.
    """

    feature: str
    delay_s: float = 0.1

    @property
    def effect(self) -> str:
        """Say what is late and how much."""
        return f"{_WORDS[self.feature]} {1e3 * self.delay_s:.0f} ms old and taken for new"

    def begin(self, rng: Generator) -> Filter:
        """Start with nothing on its way."""
        del rng
        on_the_way: deque[tuple[int, Any]] = deque()

        def delay(seen: Observation) -> Observation:
            on_the_way.append((seen.stamp_ns, getattr(seen, self.feature)))
            arrived_ns = seen.stamp_ns - round(self.delay_s * 1e9)
            while len(on_the_way) > 1 and on_the_way[1][0] <= arrived_ns:
                on_the_way.popleft()
            changes: dict[str, Any] = {self.feature: on_the_way[0][1]}
            return replace(seen, **changes)

        return delay


@dataclass(frozen=True, slots=True, kw_only=True)
class LateChunks(Disturbance):
    """A policy that takes its time: its chunks reach the gate late, stamped as they should be.

    Until one comes, the gate goes on with the one before.

    Attributes:
        delay_s: How long after its observation a chunk is there [s].
    """

    delay_s: float = 0.1

    @property
    def effect(self) -> str:
        """Say how late they are."""
        return f"chunks reach the gate {1e3 * self.delay_s:.0f} ms after their observation"

    @property
    def lag_s(self) -> float:
        """How much later than otherwise a chunk reaches the gate, in [s]."""
        return self.delay_s
