"""Real-time chunking: each chunk goes on from what will have been executed when it comes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from vla_ros.core.types import ActionChunk, ChunkPrefix, FloatArray
from vla_ros.engine.chunk_times import later
from vla_ros.engine.scheduling.delay import DelayEstimator
from vla_ros.safety.gate_config import GateConfig

#: How long the gate takes to go over to a new chunk [s].
BLEND_S = GateConfig().blend_s
#: A part of a row that is rounding, and no time [rows].
_ROUNDING = 1e-6


class RealTime:
    """Black, Galliker, Levine 2025, "Real-Time Execution of Action Chunking Flow Policies".

    arXiv:2506.07339. While an inference runs, the chunk before is executed further. What of it
    will have been executed by the end is frozen; the rest is inpainted by the policy's head, with
    a pull towards the old chunk that falls off along the rows that both have. So a new chunk
    differs from the old one where that is of use, and not at the seam.

    Trained (Black et al. 2025, arXiv:2512.05964), the frozen rows are given to a head that has
    learned to go on from them, and nothing pulls at the others.

    Two things are added to the papers, since behind them is a gate that limits jerk. Frozen is
    also what the gate needs to go over from one chunk to the next. And what the pull leaves of the
    difference is faded in along the overlap, by the same mask: a small network follows the pull
    only in part, and a step of 10 mrad between two rows is felt.
    """

    def __init__(
        self, delay: DelayEstimator, *, trained: bool = False, blend_s: float = BLEND_S
    ) -> None:
        """Freeze as many rows as `delay` expects to be executed meanwhile.

        Args:
            delay: Hears of every inference.
            trained: Whether the policy is given the frozen rows, instead of being pulled to them.
            blend_s: How long the gate takes to go over to a new chunk [s].
        """
        self._delay, self._trained, self._blend_s = delay, trained, blend_s
        self._chunk: ActionChunk | None = None
        self._old: tuple[FloatArray, FloatArray] | None = None

    def due(self, now_ns: int) -> bool:
        """Return True: as often as possible."""
        del now_ns
        return True

    def prefix(self, stamp_ns: int) -> ChunkPrefix | None:
        """Return what is left of the chunk that is executed; None if there is nothing left."""
        chunk, self._old = self._chunk, None
        if chunk is None or stamp_ns < chunk.stamp_ns:
            return None
        if (chunk.end_ns - stamp_ns) * 1e-9 < chunk.step_s * (1.0 - _ROUNDING):
            return None
        left = later(chunk, stamp_ns).positions
        frozen_s = self._delay.estimate_s + self._blend_s
        frozen = math.ceil(frozen_s / chunk.step_s - _ROUNDING)
        frozen = min(frozen, len(left), chunk.horizon - 1)
        missing = chunk.horizon - len(left)
        rows = np.concatenate([left, np.repeat(left[-1:], missing, axis=0)])
        mask = soft_mask(chunk.horizon, len(left), frozen)
        self._old = rows, mask
        if self._trained:
            return ChunkPrefix(positions=rows, weight=np.zeros_like(mask), known=frozen)
        return ChunkPrefix(positions=rows, weight=mask)

    def take(self, chunk: ActionChunk, now_ns: int) -> ActionChunk:
        """Return the chunk, faded in over the old one, which the next one will go on from."""
        del now_ns
        old, self._old = self._old, None
        if old is not None and old[0].shape == chunk.positions.shape:
            rows, mask = old
            mixed = chunk.positions + mask[:, None] * (rows - chunk.positions)
            chunk = replace(chunk, positions=mixed)
        self._chunk = chunk
        return chunk

    def forget(self) -> None:
        """Decide the next chunk anew."""
        self._chunk, self._old = None, None


def soft_mask(horizon: int, overlap: int, frozen: int) -> FloatArray:
    """Return how much each row (horizon,) of the old chunk pulls, equation 5 of the paper.

    1 for the frozen rows, 0 behind the overlap, and c (e^c - 1) / (e - 1) between them, where c
    falls from nearly 1 to nearly 0.

    Args:
        horizon: Rows of the new chunk, H.
        overlap: Rows of the old chunk that are left, H - s.
        frozen: Of these, rows that will have been executed, d.
    """
    row = np.arange(horizon)
    falling = (overlap - row) / (overlap - frozen + 1)
    soft = falling * np.expm1(falling) / math.expm1(1.0)
    return np.asarray(np.where(row < frozen, 1.0, np.where(row < overlap, soft, 0.0)))
