"""What of a chunk is left at a later time, and where it has the joints then."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from vla_ros.core.types import ActionChunk, FloatArray, Observation

#: A part of a row that is rounding, and no time [rows].
_ROUNDING = 1e-6


def later(chunk: ActionChunk, stamp_ns: int) -> ActionChunk:
    """Return what is left of a chunk from a later time on.

    Row `k` of what comes back is the chunk's own target at `stamp_ns + (k + 1) * step_s`,
    interpolated between its rows where that is between two of them.

    Args:
        chunk: With a row or more that is not past.
        stamp_ns: From when on, in [ns]; not before the chunk's own stamp.
    """
    passed = _rows_passed(chunk, stamp_ns)
    count = math.floor(chunk.horizon - passed + _ROUNDING)
    if passed < 0 or count < 1:
        raise ValueError(f"a chunk of {chunk.horizon} rows has none left after {passed:.2f} rows")
    places: FloatArray = passed + np.arange(count, dtype=np.float64)
    return replace(chunk, stamp_ns=stamp_ns, positions=_at(chunk.positions, places))


def expected_state(before: Observation, chunk: ActionChunk, stamp_ns: int) -> FloatArray:
    """Return where the joints should be at a time, if they follow a chunk as they did before.

    They lag behind what is commanded; by as much as at the chunk's own observation.

    Args:
        before: What the chunk was made from.
        chunk: What is executed since.
        stamp_ns: When, in [ns].
    """
    begun = before.state if before.command is None else before.command
    knots = np.concatenate([np.asarray(begun, np.float64)[None], chunk.positions])
    target = _at(knots, np.array([_rows_passed(chunk, stamp_ns)]))[0]
    return np.asarray(before.state + (target - begun))


def _rows_passed(chunk: ActionChunk, stamp_ns: int) -> float:
    passed = (stamp_ns - chunk.stamp_ns) * 1e-9 / chunk.step_s
    whole = round(passed)
    return float(whole) if abs(passed - whole) < _ROUNDING else passed


def _at(rows: FloatArray, places: FloatArray) -> FloatArray:
    """Return rows (P, n) at places (P,) between the rows (R, n); the last one beyond them."""
    places = np.minimum(places, len(rows) - 1)
    low = places.astype(np.int64)
    high = np.minimum(low + 1, len(rows) - 1)
    share = (places - low)[:, None]
    return np.asarray(rows[low] * (1.0 - share) + rows[high] * share)
