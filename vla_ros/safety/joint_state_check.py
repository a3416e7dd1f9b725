"""What is wrong with a measured joint state: missing, stale, implausible, far from the command."""

from __future__ import annotations

from math import tau

import numpy as np

from vla_ros.core.limits import JointLimits
from vla_ros.core.types import FloatArray
from vla_ros.safety.gate_config import GateConfig

#: A joint that is said to be further outside its limits than this is no joint of this robot, or
#: is not measured in [rad]: one turn.
FAR_OUTSIDE_RAD = tau


class JointStateCheck:
    """Judges joint states. It keeps nothing between calls, so any thread may ask."""

    def __init__(self, limits: JointLimits, config: GateConfig) -> None:
        """Judge the joints of `limits` by the tolerances of `config`."""
        self._limits = limits
        self._config = config
        self._lowest = limits.lower - FAR_OUTSIDE_RAD
        self._highest = limits.upper + FAR_OUTSIDE_RAD
        self._allowed = np.array(config.following_error_rad)

    def fault(self, now_ns: int, measured: FloatArray | None, measured_ns: int | None) -> str:
        """Return why a joint state must not be used, or ''.

        Args:
            now_ns: Present time in [ns].
            measured: Measured joint positions in [rad], shape (n,); None if there are none.
            measured_ns: Their stamp in [ns]; None if they are of now.
        """
        if measured is None:
            return "no joint state"
        if measured.shape != self._lowest.shape:
            return f"the joint state has shape {measured.shape}, expected ({self._limits.size},)"
        good = (self._lowest <= measured) & (measured <= self._highest)  # false for NaN
        if not good.all():
            return self._implausible(measured, int(np.argmin(good)))
        return "" if measured_ns is None else self._age_fault((now_ns - measured_ns) * 1e-9)

    def following_fault(self, measured: FloatArray, command: FloatArray) -> str:
        """Return which joint is too far from its command, or ''; both in [rad], shape (n,)."""
        if not self._allowed.size:
            return ""
        distance = np.abs(measured - command)
        good = distance <= self._allowed
        if good.all():
            return ""
        index = int(np.argmin(good))
        return (
            f"{self._limits.names[index]} is {distance[index]:.3f} rad from its command,"
            f" at most {self._allowed[index]:.3f} rad is allowed;"
            " reset the gate to begin where the robot is"
        )

    def _implausible(self, measured: FloatArray, index: int) -> str:
        name, value = self._limits.names[index], float(measured[index])
        if not np.isfinite(value):
            return f"the joint state of {name} is {value}"
        low, high = self._limits.lower[index], self._limits.upper[index]
        return (
            f"the joint state of {name} is {value:.4g} rad, more than a turn outside its limits"
            f" {low:.4g} to {high:.4g} rad; does the driver publish radians?"
        )

    def _age_fault(self, age_s: float) -> str:
        config = self._config
        if -config.max_chunk_lead_s <= age_s <= config.max_state_age_s:
            return ""
        if age_s < 0.0:
            return (
                f"the joint state is {-age_s:.3f} s from the future,"
                f" at most {config.max_chunk_lead_s:.3f} s is allowed; do the clocks agree?"
            )
        return (
            f"the joint state is {age_s:.3f} s old,"
            f" at most {config.max_state_age_s:.3f} s is allowed"
        )
