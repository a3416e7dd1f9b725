"""How long an inference takes, as far as that can be told before it is over."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from vla_ros.core.errors import UserError


class DelayEstimator:
    """A high quantile of the last delays: load is followed up at once, and down within a window.

    Black et al. 2025 (arXiv:2506.07339) take the maximum of a window. A quantile below 1 does not
    let one hiccup count for the whole window.
    """

    def __init__(
        self, *, window: int = 20, quantile: float = 0.9, initial_s: float = 0.05
    ) -> None:
        """Begin with a guess.

        Args:
            window: Delays that are remembered.
            quantile: Share of them that the estimate covers, above 0 and up to 1.
            initial_s: The estimate before anything was heard [s].

        Raises:
            UserError: if one of them is out of range.
        """
        if window < 1 or not 0.0 < quantile <= 1.0 or not 0.0 <= initial_s < math.inf:
            raise UserError(
                f"delay: window is {window}, quantile {quantile}, initial_s {initial_s}; expected "
                "1 or more, above 0 and up to 1, and 0 or more"
            )
        self._quantile, self._initial_s = quantile, initial_s
        self._heard: deque[float] = deque(maxlen=window)

    @property
    def estimate_s(self) -> float:
        """What the next inference will hardly take longer than, from observation to gate [s]."""
        heard = tuple(self._heard)  # other threads ask, too
        if not heard:
            return self._initial_s
        return float(np.quantile(heard, self._quantile, method="higher"))

    def hear(self, delay_s: float) -> None:
        """Take the delay of an inference [s].

        Raises:
            ValueError: if it is no duration.
        """
        if not 0.0 <= delay_s < math.inf:
            raise ValueError(f"a delay of {delay_s} s is none; do the clocks agree?")
        self._heard.append(delay_s)
