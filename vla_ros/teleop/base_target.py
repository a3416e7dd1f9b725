"""How fast an operator's mobile base should be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_ros.core.types import FloatArray
from vla_ros.teleop.intent import BASE_AXES, Intent
from vla_ros.teleop.settings import Speeds

#: A base gets to its highest speed in this time [s]; it may stop at once.
SPEED_UP_S = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseVelocity:
    """Speed of a base: forward and to the left [m/s], turning to the left [rad/s]."""

    forward: float = 0.0
    left: float = 0.0
    turn: float = 0.0


class BaseTarget:
    """Limits speed and its growth; the driver of the base does the rest."""

    def __init__(self, speeds: Speeds) -> None:
        """Limit to the speeds of a base."""
        self._most = np.array([speeds.base_linear, speeds.base_linear, speeds.base_angular])
        self._velocity: FloatArray = np.zeros(3)

    @property
    def moving(self) -> bool:
        """Whether the base was told to move last."""
        return bool(self._velocity.any())

    def advance(self, intent: Intent, dt_s: float) -> BaseVelocity:
        """Return the speed that an operator wants, no more than it may grow in `dt_s` [s]."""
        shares = np.array([intent.axes.get(name, 0.0) for name in BASE_AXES])
        wanted = np.clip(shares, -1.0, 1.0) * intent.speed * self._most
        room = self._most * dt_s / SPEED_UP_S
        # towards zero at any rate, away from it slowly
        low = np.minimum(self._velocity, 0.0) - room
        high = np.maximum(self._velocity, 0.0) + room
        self._velocity = np.clip(wanted, low, high)
        forward, left, turn = self._velocity.tolist()
        return BaseVelocity(forward=forward, left=left, turn=turn)

    def stop(self) -> BaseVelocity:
        """Return what stops the base."""
        self._velocity = np.zeros(3)
        return BaseVelocity()
