"""Sensors that are not there."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.random import Generator

from vla_ros.evaluation.deprivation import LOSABLE
from vla_ros.evaluation.disturbance.base import Disturbance, Filter

_WORDS = {"depth": "both depth cameras are", "imu": "the IMU is"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorLost(Disturbance):
    """A sensor is absent, as with `--without`: masked in the network, not filled with zeros.

    Attributes:
        sensor: One of `deprivation.LOSABLE`.
    """

    sensor: str

    @property
    def effect(self) -> str:
        """Name the sensor."""
        subject = _WORDS.get(self.sensor, f"the {self.sensor} camera, colour and depth, is")
        return f"{subject} missing, and masked"

    @property
    def loses(self) -> str | None:
        """Name the sensor."""
        return self.sensor

    def begin(self, rng: Generator) -> Filter:
        """Hide the sensor."""
        del rng
        return LOSABLE[self.sensor]
