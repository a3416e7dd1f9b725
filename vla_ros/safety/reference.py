"""Where the arm should be at a given time: the rows of a chunk, faded into the rows of the next."""

from __future__ import annotations

import numpy as np

from vla_ros.core.types import FloatArray

_MOST_FADES = 12


class ChunkPath:
    """The rows of one chunk joined by monotone cubics.

    It is continuous in velocity and never goes beyond the two rows that it is between, so a step
    in the rows (a gripper that closes) makes no overshoot. After the last row it stands still.
    """

    def __init__(self, *, stamp_ns: int, step_s: float, command: FloatArray,
                 rows: FloatArray) -> None:
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
        self._last = float(len(rows))
        start = command
        if len(rows) > 1:
            back = 2.0 * rows[0] - rows[1]
            start = np.clip(command, np.minimum(rows[0], back), np.maximum(rows[0], back))
        self._cubics = monotone_cubics(np.concatenate([start[None], rows]))  # (H, 4, n)

    def sample(self, now_ns: int, dt_s: float) -> FloatArray:
        """Return the path now, one and two periods ago, in [rad], shape (3, n)."""
        u = (now_ns - self._stamp_ns) * 1e-9 / self._step_s
        du = dt_s / self._step_s
        places = [min(max(x, 0.0), self._last) for x in (u, u - du, u - 2.0 * du)]
        segments = [min(int(x), len(self._cubics) - 1) for x in places]
        s = np.array([[x - k] for x, k in zip(places, segments, strict=True)])  # (3, 1)
        c = self._cubics[segments]  # (3, 4, n)
        return np.asarray(((c[:, 3] * s + c[:, 2]) * s + c[:, 1]) * s + c[:, 0])


class Reference:
    """A resting point and the paths that were faded in since, each over `blend_s`.

    It depends on what was asked for, never on how well the arm follows, so following errors cannot
    feed back through it.
    """

    def __init__(self, rest: FloatArray, blend_s: float) -> None:
        """Begin at `rest` in [rad], shape (n,); every path fades in over `blend_s` [s]."""
        self._rest = rest
        self._blend_s = blend_s
        self._fades: list[tuple[int, ChunkPath]] = []

    def fade_in(self, path: ChunkPath, now_ns: int) -> None:
        """Begin to fade over to `path` at `now_ns` [ns]."""
        self._fades = [*self._fades, (now_ns, path)][-_MOST_FADES:]

    def sample(self, now_ns: int, dt_s: float) -> FloatArray:
        """Return the reference now, one and two periods ago, in [rad], shape (3, n)."""
        fades = self._fades
        complete = now_ns - round((self._blend_s + 2.0 * dt_s) * 1e9)
        while len(fades) > 1 and fades[1][0] <= complete:
            fades.pop(0)
        if fades and fades[0][0] <= complete:
            result = fades[0][1].sample(now_ns, dt_s)
            fades = fades[1:]
        else:
            result = np.array([self._rest] * 3)
        for start_ns, path in fades:
            elapsed = (now_ns - start_ns) * 1e-9
            weights = np.array([[_ease((elapsed - k * dt_s) / self._blend_s)] for k in range(3)])
            result = result + weights * (path.sample(now_ns, dt_s) - result)
        return result


def _ease(s: float) -> float:
    """Return 0 below 0, 1 above 1, and between them a rise with no bend at its ends."""
    s = min(max(s, 0.0), 1.0)
    return s * s * s * (10.0 + s * (6.0 * s - 15.0))


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
    return np.stack([knots[:-1], m0, 3.0 * slopes - 2.0 * m0 - m1, m0 + m1 - 2.0 * slopes],
                    axis=1)
