"""Where the arm should be at a given time: the rows of a chunk, faded into those of the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_ros.core.limits import JointLimits
from vla_ros.core.types import FloatArray

_MOST_FADES = 24
_LONGEST_FADE_S = 1.0
_FADE_MARGIN = 2.0


class ChunkPath:
    """The rows of one chunk joined by monotone cubics.

    It is continuous in velocity and never goes beyond the two rows that it is between, so a step
    in the rows (a gripper that closes) makes no overshoot. After the last row it stands still.
    """

    def __init__(
        self, *, stamp_ns: int, step_s: float, command: FloatArray, rows: FloatArray
    ) -> None:
        """Join the rows.

        Before the first row the path comes from the command that was active at the stamp, but not
        faster than the chunk itself goes on: an arm that lags behind is no reason to start afresh.

        Args:
            stamp_ns: Time of the observation in [ns].
            step_s: Time between rows in [s].
            command: Command that was active at the stamp in [rad], shape (n,).
            rows: Targets at `stamp_ns + (k + 1) * step_s` in [rad], shape (horizon, n).
        """
        self._stamp_ns = stamp_ns
        self._step_s = step_s
        start = command
        if len(rows) > 1:
            back = 2.0 * rows[0] - rows[1]
            start = np.clip(command, np.minimum(rows[0], back), np.maximum(rows[0], back))
        self.cubics = monotone_cubics(np.concatenate([start[None], rows]))  # (H, 4, n)

    def places(self, now_ns: int, dt_s: float) -> tuple[list[int], list[float]]:
        """Return which cubic it is and where in it, now, one and two periods ago."""
        u = (now_ns - self._stamp_ns) * 1e-9 / self._step_s
        du = dt_s / self._step_s
        last = len(self.cubics)
        indices, places = [], []
        for unbounded in (u, u - du, u - 2.0 * du):
            x = min(max(unbounded, 0.0), float(last))
            index = min(int(x), last - 1)
            indices.append(index)
            places.append(x - index)
        return indices, places

    def sample(self, now_ns: int, dt_s: float) -> FloatArray:
        """Return the path now, one and two periods ago, in [rad], shape (3, n)."""
        indices, places = self.places(now_ns, dt_s)
        return _evaluate(self.cubics[indices], places)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Fade:
    start_ns: int
    done_ns: int
    rates: FloatArray  # 1 / duration of each joint's fade in [1/s], shape (n,)
    path: ChunkPath


class Reference:
    """A resting point and the paths that were faded in since.

    It depends on what was asked for, never on how well the arm follows, so following errors cannot
    feed back through it. A fade takes longer the further the new path is, each joint for itself,
    so that the fade itself asks for nothing that the limits forbid.
    """

    def __init__(self, rest: FloatArray, blend_s: float, dt_s: float, limits: JointLimits) -> None:
        """Begin at rest.

        Args:
            rest: Where, in [rad], shape (n,).
            blend_s: Shortest fade in [s].
            dt_s: Control period in [s].
            limits: Limits that set how long a fade takes.
        """
        self._rest = np.array([rest] * 3)
        self._blend_s = blend_s
        self._dt_s = dt_s
        self._limits = limits
        self._fades: list[_Fade] = []
        self._cubics = np.empty((0, 4, len(rest)))
        self._rates = np.empty((0, 1, len(rest)))
        self._ages_s = dt_s * np.arange(3.0)[:, None]  # (3, 1)

    def fade_in(self, path: ChunkPath, now_ns: int) -> None:
        """Begin to fade over to `path` at `now_ns` [ns]."""
        there, here = path.sample(now_ns, self._dt_s)[0], self.sample(now_ns)[0]
        durations = self._fade_durations(np.abs(there - here))
        longest = round((float(durations.max()) + 2.0 * self._dt_s) * 1e9)
        fade = _Fade(start_ns=now_ns, done_ns=now_ns + longest, rates=1.0 / durations, path=path)
        self._keep([*self._fades, fade][-_MOST_FADES:])

    def sample(self, now_ns: int) -> FloatArray:
        """Return the reference now, one and two periods ago, in [rad], shape (3, n)."""
        for index in range(len(self._fades) - 1, 0, -1):
            if now_ns >= self._fades[index].done_ns:
                self._keep(self._fades[index:])
                break
        indices, places, elapsed = [], [], []
        offset = 0
        for fade in self._fades:
            path = fade.path
            more, where = path.places(now_ns, self._dt_s)
            indices += [offset + index for index in more]
            places += where
            elapsed.append((now_ns - fade.start_ns) * 1e-9)
            offset += len(path.cubics)
        if not indices:
            return self._rest
        points = _evaluate(self._cubics[indices], places)  # (3 m, n)
        s = (np.array(elapsed)[:, None, None] - self._ages_s) * self._rates  # (m, 3, n)
        s = np.minimum(np.maximum(s, 0.0), 1.0)
        weights = s * s * s * (10.0 + s * (6.0 * s - 15.0))  # no bend at either end
        result: FloatArray = self._rest
        for index, weight in enumerate(weights):
            result = result + weight * (points[3 * index : 3 * index + 3] - result)
        return result

    def _keep(self, fades: list[_Fade]) -> None:
        """Keep these fades and what `sample` needs of them in one piece."""
        self._fades = fades
        self._cubics = np.concatenate([fade.path.cubics for fade in fades])
        self._rates = np.array([fade.rates for fade in fades])[:, None]

    def _fade_durations(self, distance: FloatArray) -> FloatArray:
        """Return how long each joint's fade takes in [s], for `distance` in [rad], shape (n,)."""
        # a fade over T peaks at 1.9 d/T, 5.8 d/T^2 and 60 d/T^3; the margin leaves room for more
        limits, far = self._limits, _FADE_MARGIN * distance
        needed = np.maximum(1.9 * far / limits.velocity, np.sqrt(5.8 * far / limits.acceleration))
        needed = np.maximum(needed, np.cbrt(60.0 * far / limits.jerk))
        return np.asarray(np.clip(needed, self._blend_s, max(_LONGEST_FADE_S, self._blend_s)))


def _evaluate(cubics: FloatArray, places: list[float]) -> FloatArray:
    """Return the values, shape (m, n), of cubics, shape (m, 4, n), at places from 0 to 1."""
    s = np.array(places)[:, None]
    return np.asarray(((cubics[:, 3] * s + cubics[:, 2]) * s + cubics[:, 1]) * s + cubics[:, 0])


def monotone_cubics(knots: FloatArray) -> FloatArray:
    """Return cubics, shape (K - 1, 4, n), lowest power first, between knots (K, n).

    Tangents are harmonic means of the neighbouring slopes, 0 where the direction turns, so a cubic
    stays between its two knots.
    """
    slopes = np.diff(knots, axis=0)  # (K - 1, n)
    left, right = slopes[:-1], slopes[1:]
    product = left * right
    same = product > 0.0
    inner = np.where(same, 2.0 * product / np.where(same, left + right, 1.0), 0.0)
    tangents = np.concatenate([slopes[:1], inner, slopes[-1:]])  # (K, n)
    m0, m1 = tangents[:-1], tangents[1:]
    return np.stack([knots[:-1], m0, 3.0 * slopes - 2.0 * m0 - m1, m0 + m1 - 2.0 * slopes], axis=1)
