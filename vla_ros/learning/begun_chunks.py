"""Chunks whose first rows were executed already: what a late chunk has to go on from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[np.generic]


def draw_delays(rng: Generator, longest: int, left: Array) -> NDArray[np.int64]:
    """Return how many rows (B,) of each chunk were executed before it came; of about half, none.

    Args:
        rng: Draws.
        longest: In rows.
        left: States that follow in each episode (B,): nobody knows what comes after the last one.
    """
    drawn = rng.integers(-longest, longest + 1, size=len(left))
    return np.asarray(np.clip(drawn, 0, left), np.int64)


def begun_chunks(
    states: Mapping[str, Array], rows: NDArray[np.int64], delays: NDArray[np.int64]
) -> Array:
    """Return chunks (B, H, n) [rad] of which the first rows are what was executed.

    What comes after them is the expert's answer to the state in which they end, not to the one
    that the policy sees: that is the best it can do. What was executed may be anything, such as
    what a learner decided, so that it tells nothing of what the expert knows.

    Args:
        states: With `command` (N, n), in force at each state, and `chunk` (N, H, n).
        rows: The states that the policy sees (B,).
        delays: Rows of each chunk that were executed (B,).
    """
    chunk, command = states["chunk"], states["command"]
    place = np.arange(chunk.shape[1])
    passed = delays[:, None]
    executed = command[rows[:, None] + np.minimum(place + 1, passed)]
    rest = chunk[(rows + delays)[:, None], np.maximum(place - passed, 0)]
    return np.where((place < passed)[..., None], executed, rest)
