"""How smooth commanded motion is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vla_ros.core.types import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Jerk:
    """The third difference of commanded joint positions, over all joints and periods [rad/s^3].

    Attributes:
        rms: Its root mean square.
        most: Its largest absolute value.
    """

    rms: float = 0.0
    most: float = 0.0


def measure_jerk(commands: Sequence[FloatArray], dt_s: float) -> Jerk:
    """Return the jerk of commands.

    Args:
        commands: Each (n_joints,) [rad]; fewer than four have none.
        dt_s: Time between two of them [s].
    """
    if len(commands) < 4:
        return Jerk()
    jerk = np.diff(np.asarray(commands, np.float64), 3, axis=0) / dt_s**3
    return Jerk(rms=float(np.sqrt(np.mean(jerk**2))), most=float(np.abs(jerk).max()))
