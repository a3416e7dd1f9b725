"""Average what all chunks say about the same time."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace

import numpy as np

from vla_ros.core.errors import UserError
from vla_ros.core.types import ActionChunk, ChunkPrefix, FloatArray

#: More chunks than this are never remembered.
KEPT = 64
#: A part of a row that is rounding, and no time [rows].
_ROUNDING = 1e-6


class TemporalEnsemble:
    """Temporal ensembling of ACT (Zhao et al. 2023, arXiv:2304.13705, section IV-B).

    The command of a time is the mean of all predictions for it, weighed by exp(-m i) with i = 0
    for the oldest one. That is smooth where chunks say nearly the same; between two ways that are
    both right, the mean may be none.
    """

    def __init__(self, decay: float = 0.01) -> None:
        """Average with `decay` m: the smaller, the faster new predictions count (0.01 in ACT).

        Raises:
            UserError: if it is not finite.
        """
        if not math.isfinite(decay):
            raise UserError(f"ensemble: decay is {decay}; expected a finite number, 0.01 is usual")
        self._decay = decay
        self._chunks: deque[ActionChunk] = deque(maxlen=KEPT)

    def due(self, now_ns: int) -> bool:
        """Return True: the more chunks, the better the mean."""
        del now_ns
        return True

    def prefix(self, stamp_ns: int) -> ChunkPrefix | None:
        """Return None: every chunk is decided by itself."""
        del stamp_ns
        return None

    def take(self, chunk: ActionChunk, now_ns: int) -> ActionChunk:
        """Return the chunk, each row averaged with what those before it say of its time."""
        del now_ns
        if self._chunks and (
            chunk.joint_names != self._chunks[-1].joint_names
            or chunk.stamp_ns < self._chunks[-1].stamp_ns
        ):
            self.forget()
        while self._chunks and self._chunks[0].end_ns <= chunk.stamp_ns:
            self._chunks.popleft()
        self._chunks.append(chunk)
        total = np.zeros_like(chunk.positions)
        counts = np.zeros((chunk.horizon, 1))
        places = np.arange(1.0, chunk.horizon + 1)
        # i counts the predictions of a time, and the oldest of all chunks says least of the future
        weights = np.exp(-self._decay * np.arange(len(self._chunks)))
        for weight, each in zip(weights, self._chunks, strict=True):
            passed = (chunk.stamp_ns - each.stamp_ns) * 1e-9 / chunk.step_s
            at: FloatArray = (places + passed) * (chunk.step_s / each.step_s) - 1.0
            said = at <= each.horizon - 1 + _ROUNDING
            total += weight * said[:, None] * _rows_at(each.positions, at)
            counts += weight * said[:, None]
        return replace(chunk, positions=total / counts)

    def forget(self) -> None:
        """Forget all chunks."""
        self._chunks.clear()


def _rows_at(rows: FloatArray, places: FloatArray) -> FloatArray:
    """Return rows (P, n) at places (P,) between the rows (R, n); the last one beyond them."""
    places = np.clip(places, 0.0, len(rows) - 1)
    low = places.astype(np.int64)
    high = np.minimum(low + 1, len(rows) - 1)
    share = (places - low)[:, None]
    return np.asarray(rows[low] * (1.0 - share) + rows[high] * share)
