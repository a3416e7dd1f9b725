"""One joint's motion in exact integer arithmetic, and the proof that it can always stop.

Positions are whole multiples of 2^-40 rad, time is counted in control periods. So velocity,
acceleration and jerk, taken as differences of successive commands, are exact integers, and a limit
holds to the last bit, not up to rounding. In these units one period is

    a += j,   v += a,   q += v          with |j| <= J, |a| <= A, |v| <= V, low <= q <= high.

**Why it can always stop.** `brake` is a fixed rule that leads every (v, a) to rest. A step is
taken only when the whole braking motion after it stays within the limits (`can_stop`). The rest of
a braking motion is again a braking motion, so one allowed step is always left: the first step of
the braking motion that was checked the last time.
"""

from __future__ import annotations

from math import isqrt

from vla_ros.core.limits import SMALLEST_CHANGE_RAD

UNITS_PER_RAD = float(2**40)
_BISECTIONS = 6
_FEWEST_UNITS = round(SMALLEST_CHANGE_RAD * UNITS_PER_RAD)


def runout(x: int, jerk: int) -> int:
    """Return the change of velocity from acceleration `x` >= 0 until `jerk` brings it to 0.

    That is `x + (x - jerk) + (x - 2 jerk) + ...` as long as the terms are positive.
    """
    steps = x // jerk
    return (steps + 1) * x - jerk * (steps * (steps + 1) // 2)


def runout_inverse(room: int, jerk: int) -> int:
    """Return the largest acceleration >= 0 whose `runout` is at most `room` >= 0."""
    steps = (isqrt(4 * (2 * room // jerk) + 1) - 1) // 2
    return (room + jerk * (steps * (steps + 1) // 2)) // (steps + 1)


class JointMotion:
    """State and limits of one joint, in units of 2^-40 rad and control periods."""

    __slots__ = ("_high", "_low", "a", "a_max", "high", "j_max", "low", "q", "v", "v_max")

    def __init__(self, low: float, high: float, v_max: float, a_max: float, j_max: float) -> None:
        """Take limits in [rad], [rad/period], [rad/period^2], [rad/period^3].

        Raises:
            ValueError: if a limit is too small to be told apart from rounding.
        """
        # One unit less than the limit: whoever checks in floating point finds no violation either.
        self.v_max = int(v_max * UNITS_PER_RAD) - 1
        self.a_max = int(a_max * UNITS_PER_RAD) - 1
        self.j_max = int(j_max * UNITS_PER_RAD) - 1
        self._low = int(low * UNITS_PER_RAD) + 1
        self._high = int(high * UNITS_PER_RAD) - 1
        if min(self.v_max, self.a_max, self.j_max, self._high - self._low) < _FEWEST_UNITS:
            raise ValueError("a limit is too small for this control period")
        self.reset(self._low)

    def reset(self, position: int) -> None:
        """Start at rest at `position`; one outside the limits may stay there, or come back."""
        self.q, self.v, self.a = position, 0, 0
        self.low, self.high = min(self._low, position), max(self._high, position)

    @property
    def longest_stop(self) -> int:
        """A bound on how many periods `brake` ever needs to stand still."""
        ramp = min(self.a_max // self.j_max, isqrt(self.v_max // self.j_max))
        return self.v_max // self.a_max + 4 * ramp + 8

    @property
    def at_rest(self) -> bool:
        """Whether velocity and acceleration are 0."""
        return not (self.v or self.a)

    def bounds(self) -> tuple[int, int]:
        """Return the smallest and largest next acceleration that all but the position allow."""
        v, a, j = self.v, self.a, self.j_max
        low = max(a - j, -self.a_max, -runout_inverse(self.v_max + v, j))
        high = min(a + j, self.a_max, runout_inverse(self.v_max - v, j))
        return low, high

    def brake(self) -> int:
        """Return the next acceleration of the braking motion."""
        return self._brake(self.v, self.a)

    def _brake(self, v: int, a: int) -> int:
        j = self.j_max
        want = 0
        if v > 0:
            want = -min(runout_inverse(v, j), self.a_max)
        elif v < 0:
            want = min(runout_inverse(-v, j), self.a_max)
        return min(max(want, a - j), a + j)

    def can_stop(self, a: int) -> bool:
        """Return whether braking after a step with acceleration `a` keeps the position limits."""
        v = self.v + a
        q = self.q + v
        low, high = self.low, self.high
        reach = self.reach(v, a)
        if low + reach <= q <= high - reach:
            return True
        brake = self._brake
        while low <= q <= high:
            if not (v or a):
                return True
            a = brake(v, a)
            v += a
            q += v
        return False

    def reach(self, v: int, a: int) -> int:
        """Return a bound on how far the braking motion from (v, a) strays to either side."""
        size, j = abs(a), self.j_max
        peak = abs(v) + runout(size, j)
        ramp = min(self.a_max // j, isqrt(peak // j))
        return peak * (size // j + peak // self.a_max + 2 * ramp + 6)

    def allowed(self, wish: int) -> int:
        """Return the allowed acceleration nearest to `wish`, short of it by 1/64 near a limit."""
        low, high = self.bounds()
        wish = min(max(wish, low), high)
        if self.can_stop(wish):
            return wish
        good, bad = self.brake(), wish
        for _ in range(_BISECTIONS):
            middle = (good + bad) // 2
            if self.can_stop(middle):
                good = middle
            else:
                bad = middle
        return good

    def apply(self, a: int) -> None:
        """Take one period with acceleration `a`, which `allowed` or `brake` gave."""
        self.a = a
        self.v += a
        self.q += self.v
        if self.low < self._low <= self.q or self.q <= self._high < self.high:
            self._restore_limits()

    def _restore_limits(self) -> None:
        """Put the true limits back once a joint that started outside can stop inside them."""
        opened = self.low, self.high
        self.low, self.high = max(self.low, self._low), min(self.high, self._high)
        if not (self.low <= self.q <= self.high and self.can_stop(self.brake())):
            self.low, self.high = opened

    def periods_to_stop(self, most: int) -> int:
        """Return how many periods `brake` needs to stand still, counted up to `most`."""
        v, a, periods = self.v, self.a, 0
        while (v or a) and periods < most:
            a = self._brake(v, a)
            v += a
            periods += 1
        return periods

    def braking_path(self, a: int) -> list[int]:
        """Return the positions of a step with acceleration `a` and of the braking after it."""
        v = self.v + a
        q = self.q + v
        path = [q]
        while v or a:
            a = self._brake(v, a)
            v += a
            q += v
            path.append(q)
        return path
