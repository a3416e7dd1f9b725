"""How long an operator's word holds, and how fast an arm may be that has to stop in time."""

from __future__ import annotations

import numpy as np

from vla_ros.core.errors import UserError
from vla_ros.core.limits import JointLimits
from vla_ros.core.types import FloatArray

#: What is made of an operator's word ends so long after it [s]: the gate has the arm at rest by
#: then, and 10 ms of the 100 ms that are allowed are left for the way of the message.
VALID_S = 0.09
#: From an operator's word to the tick of the gate that obeys it, on a busy machine [s].
ON_THE_WAY_S = 0.02
#: A word may come later than the device's rate says by this part of a period.
LATE = 0.5
#: The slowest device that leaves time to stop [Hz].
LOWEST_RATE_HZ = 30.0


def stoppable_speed(limits: JointLimits, rate_hz: float) -> FloatArray:
    """Return the highest speed of each joint that leaves time to stop, in [rad/s], shape (n,).

    The gate brakes as soon as what is left of a chunk is what it takes to stop. A faster motion
    would make it brake between one word of the operator and the next.

    Args:
        limits: Of the joints.
        rate_hz: How often the operator's device speaks.

    Raises:
        UserError: if that is too seldom.
    """
    if not rate_hz >= LOWEST_RATE_HZ:
        raise UserError(
            f"rate_hz: expected {LOWEST_RATE_HZ:g} Hz or more, got {rate_hz:g}: between two"
            " messages so far apart the arm could not be stopped within 100 ms. Raise the rate of"
            " the device's driver; joy_node has `autorepeat_rate`"
        )
    stop_s = VALID_S - ON_THE_WAY_S - (1.0 + LATE) / rate_hz
    build_up_s = limits.acceleration / limits.jerk
    steady = limits.acceleration * (stop_s - build_up_s)
    brief = limits.jerk * stop_s**2 / 4.0  # too short to get to the full deceleration
    speed = np.where(stop_s >= 2.0 * build_up_s, steady, brief)
    return np.asarray(np.minimum(speed, limits.velocity))
