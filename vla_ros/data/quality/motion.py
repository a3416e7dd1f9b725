"""When the robot moved, how far, and how long after it was told to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.types import FloatArray
from vla_ros.data.quality.signals import Signals, Stream
from vla_ros.data.quality.thresholds import Thresholds

#: Grid on which commands and measurements are compared [s], and the lags that are tried [s].
GRID_S, EARLIEST_S, LATEST_S = 0.01, -0.3, 0.8
#: How far a camera may be from the joints in time [s]; and how much of both is needed, to compare
#: commands with joints and cameras with joints [s].
FARTHEST_SIGHT_S, LEAST_S, SIGHT_S = 0.4, 0.6, 1.5
#: Speed below which all joints rest, as a root mean square [rad/s]: nothing to compare.
RESTING_RAD_S = 0.02


@dataclass(frozen=True, slots=True)
class Lag:
    """How long after a command the joints do what it says.

    Attributes:
        seconds: The lag [s].
        correlation: Of the motion that is commanded and the one that is measured at that lag.
        at_zero: Their correlation without any lag.
    """

    seconds: float
    correlation: float
    at_zero: float = 0.0


def moving(stream: Stream, thresholds: Thresholds) -> NDArray[np.bool_]:
    """Return whether the robot moves at each joint state, shape (N,)."""
    values, times = stream.values, 1e-9 * (stream.log_ns - stream.log_ns[0])
    assert values is not None
    half = 0.5 * thresholds.moving_window_s
    first = np.searchsorted(times, times - half)
    last = np.searchsorted(times, times + half, side="right")
    return np.array(
        [
            float(np.ptp(values[a:b], axis=0).max()) > thresholds.moves_rad
            for a, b in zip(first, last, strict=True)
        ]
    )


def moving_between(signals: Signals, begin_ns: int, end_ns: int, thresholds: Thresholds) -> bool:
    """Return whether a joint went somewhere between two times; of no joints, nothing is known."""
    stream = signals.state
    if stream is None or stream.values is None:
        return False
    inside = stream.values[(stream.log_ns >= begin_ns) & (stream.log_ns <= end_ns)]
    return len(inside) > 1 and float(np.ptp(inside, axis=0).max()) > thresholds.moves_rad


def measure_lag(signals: Signals) -> Lag | None:
    """Return the lag from the commands to the measured joints; None if nothing moved.

    Both are put on one grid; what is compared is how they change, summed over joints, since a
    constant offset (gravity) says nothing about time.
    """
    commands, state = signals.commands, signals.state
    if commands is None or state is None or commands.values is None or state.values is None:
        return None
    told, is_at = _on_grid((commands.times_ns, commands.values), (state.times_ns, state.values))
    if len(told) < LEAST_S / GRID_S:
        return None
    told, is_at = (_smooth_speed(values) for values in (told, is_at))
    if min(float(np.sqrt((item**2).mean())) for item in (told, is_at)) < RESTING_RAD_S:
        return None
    return _best_lag(told, is_at, EARLIEST_S, LATEST_S)


def measure_sight_lag(signals: Signals, topic: str) -> Lag | None:
    """Return how much later a camera sees the arm move than the joints do; None if it cannot tell.

    How much the picture changes is compared with how fast the joints are. That fits well for a
    camera on the arm, and says little for one that sees it small: mind the correlation.
    """
    pictures, state = signals.pictures.get(topic), signals.state
    if pictures is None or state is None or state.values is None:
        return None
    times = pictures.stream.times_ns
    steps = 1e-9 * np.diff(times).astype(np.float64)
    if len(steps) < SIGHT_S / GRID_S / 10 or (steps <= 0.0).any():
        return None
    changes = (pictures.motion[1:] / steps)[:, None]
    seen, is_at = _on_grid(
        ((times[1:] + times[:-1]) // 2, changes), (state.times_ns, state.values)
    )
    if len(seen) < SIGHT_S / GRID_S:
        return None
    speed = np.abs(_smooth_speed(is_at)).sum(axis=1, keepdims=True)
    if float(speed.mean()) < RESTING_RAD_S:
        return None
    kernel = np.ones(5) / 5.0
    seen = np.convolve(seen[:, 0], kernel, "valid")[: len(speed), None]
    # speeds are from 2.5 steps after the grid's point, the mean of five from 2 after it
    speed, seen = speed - speed.mean(), seen - seen.mean()
    lag = _best_lag(speed[: len(seen)], seen, -FARTHEST_SIGHT_S, FARTHEST_SIGHT_S)
    return replace(lag, seconds=lag.seconds - 0.5 * GRID_S)


def _best_lag(before: FloatArray, after: FloatArray, earliest_s: float, latest_s: float) -> Lag:
    """Return the lag of `after` at which it fits best; at least half of both has to overlap."""
    half = len(before) // 2
    first = max(round(earliest_s / GRID_S), -half)
    lags = np.arange(first, min(round(latest_s / GRID_S), half) + 1)
    scores = np.array([_correlation(before, after, int(lag)) for lag in lags])
    best, offset = int(np.argmax(scores)), 0.0
    if 0 < best < len(scores) - 1:  # a parabola through three points: finer than the grid
        left, middle, right = scores[best - 1 : best + 2]
        bend = left - 2.0 * middle + right
        offset = 0.5 * (left - right) / bend if bend < 0.0 else 0.0
    return Lag(
        GRID_S * float(lags[best] + offset), float(scores[best]), float(scores[lags == 0][0])
    )


#: Times [ns] and values of each (N, width).
Timed = tuple[NDArray[np.int64], FloatArray]


def _on_grid(one: Timed, other: Timed) -> tuple[FloatArray, FloatArray]:
    begin = max(int(times.min()) for times, _ in (one, other))
    end = min(int(times.max()) for times, _ in (one, other))
    count = max(0, int((end - begin) * 1e-9 / GRID_S))
    grid = GRID_S * np.arange(count, dtype=np.float64)
    return _interpolate(*one, begin, grid), _interpolate(*other, begin, grid)


def _interpolate(
    times_ns: NDArray[np.int64], values: FloatArray, begin_ns: int, grid: FloatArray
) -> FloatArray:
    times = 1e-9 * (times_ns - begin_ns)
    order = np.argsort(times, kind="stable")
    columns = [np.interp(grid, times[order], column[order]) for column in values.T]
    return np.stack(columns, axis=1)


def _smooth_speed(values: FloatArray) -> FloatArray:
    """Return speeds over 50 ms [rad/s]: shorter, the encoders' steps are what is seen."""
    width = 5
    speeds: FloatArray = (values[width:] - values[:-width]) / (width * GRID_S)
    return speeds


def _correlation(told: FloatArray, is_at: FloatArray, lag: int) -> float:
    before, after = (told, is_at[lag:]) if lag >= 0 else (told[-lag:], is_at)
    count = min(len(before), len(after))
    before, after = before[:count], after[:count]
    norm = float(np.sqrt((before**2).sum() * (after**2).sum()))
    return float((before * after).sum()) / norm if norm > 0.0 else 0.0
