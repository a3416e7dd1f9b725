"""When the robot moved, how far, and how long after it was told to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.types import FloatArray
from vla_ros.data.quality.signals import Signals, Stream
from vla_ros.data.quality.thresholds import Thresholds

#: Grid on which commands and measurements are compared [s], and the lags that are tried [s].
GRID_S, EARLIEST_S, LATEST_S = 0.01, -0.3, 0.8
#: Speed below which all joints rest, as a root mean square [rad/s]: nothing to compare.
RESTING_RAD_S = 0.02


@dataclass(frozen=True, slots=True)
class Lag:
    """How long after a command the joints do what it says.

    Attributes:
        seconds: The lag [s].
        correlation: Of the motion that is commanded and the one that is measured at that lag.
    """

    seconds: float
    correlation: float


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
    if commands is None or state is None:
        return None
    told, is_at = _on_grid(commands, state)
    margin = round(LATEST_S / GRID_S)
    if len(told) < 4 * margin // 2:
        return None
    told, is_at = (_smooth_speed(values) for values in (told, is_at))
    if min(float(np.sqrt((item**2).mean())) for item in (told, is_at)) < RESTING_RAD_S:
        return None
    lags = np.arange(round(EARLIEST_S / GRID_S), margin + 1)
    scores = np.array([_correlation(told, is_at, int(lag)) for lag in lags])
    best = int(np.argmax(scores))
    offset = 0.0
    if 0 < best < len(scores) - 1:  # a parabola through three points: finer than the grid
        left, middle, right = scores[best - 1 : best + 2]
        bend = left - 2.0 * middle + right
        offset = 0.5 * (left - right) / bend if bend < 0.0 else 0.0
    return Lag(GRID_S * float(lags[best] + offset), float(scores[best]))


def _on_grid(commands: Stream, state: Stream) -> tuple[FloatArray, FloatArray]:
    begin = max(commands.times_ns[0], state.times_ns[0])
    end = min(commands.times_ns[-1], state.times_ns[-1])
    count = max(0, int((end - begin) * 1e-9 / GRID_S))
    grid = GRID_S * np.arange(count, dtype=np.float64)
    return _interpolate(commands, begin, grid), _interpolate(state, begin, grid)


def _interpolate(stream: Stream, begin_ns: int, grid: FloatArray) -> FloatArray:
    assert stream.values is not None
    times = 1e-9 * (stream.times_ns - begin_ns)
    order = np.argsort(times, kind="stable")
    columns = [np.interp(grid, times[order], column[order]) for column in stream.values.T]
    return np.stack(columns, axis=1) if columns else np.zeros((len(grid), 0))


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
