"""Follow a moving target within the limits of every joint, whatever the target does."""

from __future__ import annotations

from math import cbrt, exp, sqrt

import numpy as np

from vla_ros.core.errors import NonFiniteCommand
from vla_ros.core.limits import JointLimits
from vla_ros.core.types import FloatArray
from vla_ros.safety.motion import UNITS_PER_RAD, JointMotion, runout_inverse

POSITION_GAIN_HZ = 15.0
VELOCITY_GAIN_HZ = 60.0
"""Bandwidths of the two loops in [1/s]; a quarter of the second is critical damping."""

_PLAUSIBLE = 1e9
_PLAUSIBLE_SUM = _PLAUSIBLE * UNITS_PER_RAD


class MotionFilter:
    """Turns targets into commands whose differences keep the limits exactly.

    For outputs q one period apart, and differences taken per period, |dq| <= V, |d2q| <= A,
    |d3q| <= J and lower <= q <= upper hold without a tolerance, for every sequence of targets
    (see `vla_ros.safety.motion` for why). With the target's velocity and acceleration given, a
    target that itself keeps the limits is followed without lag.
    """

    def __init__(self, limits: JointLimits, dt_s: float) -> None:
        """Make a filter at rest at the lower limits; call `reset` before the first step.

        Args:
            limits: Limits of n joints.
            dt_s: Control period in [s], above 0.

        Raises:
            ValueError: if `dt_s` is not above 0, or a limit is too small for it.
        """
        if not (np.isfinite(dt_s) and dt_s > 0.0):
            raise ValueError(f"dt_s must be above 0, got {dt_s}")
        self.limits = limits
        self.dt_s = float(dt_s)
        self.limited = False
        self._motions = tuple(
            JointMotion(*values)
            for values in zip(
                limits.lower.tolist(),
                limits.upper.tolist(),
                (limits.velocity * dt_s).tolist(),
                (limits.acceleration * dt_s**2).tolist(),
                (limits.jerk * dt_s**3).tolist(),
                strict=True,
            )
        )
        self._position_gain = 1.0 - exp(-POSITION_GAIN_HZ * dt_s)
        self._velocity_gain = 1.0 - exp(-VELOCITY_GAIN_HZ * dt_s)
        self.longest_stop = max(motion.longest_stop for motion in self._motions)
        self._shape = (limits.size,)

    @property
    def position(self) -> FloatArray:
        """The last output in [rad], shape (n,)."""
        return np.array([m.q for m in self._motions]) / UNITS_PER_RAD

    @property
    def velocity(self) -> FloatArray:
        """Velocity of the last output in [rad/s], shape (n,)."""
        return np.array([m.v for m in self._motions]) / (UNITS_PER_RAD * self.dt_s)

    @property
    def acceleration(self) -> FloatArray:
        """Acceleration of the last output in [rad/s^2], shape (n,)."""
        return np.array([m.a for m in self._motions]) / (UNITS_PER_RAD * self.dt_s**2)

    @property
    def at_rest(self) -> bool:
        """Whether the output stands still."""
        return all(m.at_rest for m in self._motions)

    @property
    def motions(self) -> tuple[JointMotion, ...]:
        """The joints' motions, for checks that need the braking path."""
        return self._motions

    def reset(self, position: FloatArray) -> FloatArray:
        """Start at rest at `position` and return it as it will be commanded.

        A joint outside its position limits may stay there or come back, never go further out.

        Args:
            position: Joint positions in [rad], shape (n,).

        Raises:
            NonFiniteCommand: if a position is NaN or infinite; names the joint.
        """
        self._check(position, "position")
        for motion, value in zip(self._motions, position.tolist(), strict=True):
            motion.reset(round(value * UNITS_PER_RAD))
        self.limited = False
        return self.position

    def step(
        self,
        target: FloatArray,
        velocity: FloatArray | None = None,
        acceleration: FloatArray | None = None,
    ) -> FloatArray:
        """Advance one period towards `target` and return the command, in [rad], shape (n,).

        Args:
            target: Where the joints should be after this period in [rad], shape (n,).
            velocity: Velocity of the target, over the period that ends now, in [rad/s], shape
                (n,); None for a target that stands still.
            acceleration: Change of that velocity in [rad/s^2], shape (n,); None for 0.

        Raises:
            NonFiniteCommand: if a value is NaN or infinite; names the joint. Nothing has moved.
        """
        self._check(target, "target")
        self._check(velocity, "velocity of the target")
        self._check(acceleration, "acceleration of the target")
        travelled = np.zeros_like(target) if velocity is None else velocity * self.dt_s
        change = 0.0 if acceleration is None else acceleration * self.dt_s**2
        samples = np.array([target, target - travelled, target - 2.0 * travelled + change])
        return self.advance(self.wishes(samples))

    def brake(self) -> FloatArray:
        """Advance one period of the fastest smooth stop; return the command [rad]."""
        for motion in self._motions:
            motion.apply(motion.brake())
        self.limited = False
        return self.position

    def periods_to_stop(self, most: int) -> int:
        """Return how many periods `brake` needs to stand still, counted up to `most`."""
        return max(motion.periods_to_stop(most) for motion in self._motions)

    def stopping_point(self) -> FloatArray:
        """Return where `brake` would bring the joints to rest, in [rad], shape (n,)."""
        return np.array([m.braking_path(m.brake())[-1] for m in self._motions]) / UNITS_PER_RAD

    def wishes(self, samples: FloatArray) -> list[int]:
        """Return the allowed acceleration of each joint towards a target, without moving yet.

        Args:
            samples: Where the target is after this period, was after the last one, and the one
                before that, in [rad], shape (3, n).

        Returns:
            In units per period^2, for `advance`.

        Raises:
            NonFiniteCommand: if a value is NaN or infinite; names the joint.
        """
        now, before, earlier = (samples * UNITS_PER_RAD).tolist()
        # NaN and infinity survive sums: one comparison in the usual case, a named joint otherwise
        if not abs(sum(now) + sum(before) + sum(earlier)) < _PLAUSIBLE_SUM:
            for row in samples:
                self._check(row, "target")
        limited = False
        result = []
        for motion, p, p1, p2 in zip(self._motions, now, before, earlier, strict=True):
            wish = self._wish(motion, p, p - p1, p - 2.0 * p1 + p2)
            allowed = motion.allowed(wish)
            limited = limited or allowed != wish
            result.append(allowed)
        self.limited = limited
        return result

    def advance(self, accelerations: list[int]) -> FloatArray:
        """Advance one period with what `wishes` returned; return the command in [rad]."""
        for motion, value in zip(self._motions, accelerations, strict=True):
            motion.apply(value)
        return self.position

    def _wish(self, motion: JointMotion, p: float, v: float, a: float) -> int:
        """Return the acceleration that closes in on the target, jerk and speed considered."""
        v = min(max(v, -motion.v_max), motion.v_max)
        a = min(max(a, -motion.a_max), motion.a_max)
        before = v - a  # velocity of the target one period ago
        error = min(max(p, motion.low), motion.high) - v - motion.q
        approach = min(
            self._position_gain * abs(error),
            0.6 * cbrt(error * error * motion.j_max),
            sqrt(motion.a_max * abs(error)),
        )
        wanted = before + (approach if error > 0.0 else -approach)
        wanted = min(max(wanted, -motion.v_max), motion.v_max)
        change = wanted - motion.v
        size = min(
            self._velocity_gain * abs(change), runout_inverse(int(abs(change)), motion.j_max)
        )
        return round(a + (size if change > 0.0 else -size))

    def _check(self, values: FloatArray | None, what: str) -> None:
        if values is None:
            return
        if values.shape != self._shape:
            raise ValueError(f"{what}: expected {self.limits.size} values, got {values.shape}")
        good = np.abs(values) < _PLAUSIBLE
        if not good.all():
            bad = [n for n, ok in zip(self.limits.names, good.tolist(), strict=True) if not ok]
            raise NonFiniteCommand(f"{what}: {', '.join(bad)} is not a finite, plausible number")
