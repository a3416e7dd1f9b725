"""Stretches of time in which something holds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def runs(holds: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last index of every run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], holds, [False])).astype(np.int8)))
    for first, end in edges.reshape(-1, 2):
        yield int(first), int(end) - 1
