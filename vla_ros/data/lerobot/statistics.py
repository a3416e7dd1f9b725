"""Statistics of an episode's features and of a dataset's, under LeRobot's names.

Means, deviations and quantiles are those of `lerobot/datasets/compute_stats.py`, with which they
can be aggregated, but for two: LeRobot 0.4.4 squares images as 8-bit and depth as 16-bit integers,
which overflow, so that its deviations of those are wrong; ours are not. And depth is one number
for all pixels that are no holes, where LeRobot has one per column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
#: Images larger than the one are thinned out to about the other [px]: LeRobot's numbers.
LARGEST, THINNED = 300, 150

Statistics = dict[str, NDArray[np.float64]]


def vector_statistics(values: NDArray[Any]) -> Statistics:
    """Return the statistics of numbers (N, ..., C), each of shape (C,)."""
    flat = np.asarray(values, np.float64).reshape(-1, values.shape[-1])
    return _statistics(flat) | {"count": np.array([len(values)])}


class ImageStatistics:
    """Gathers some of an episode's images; LeRobot's choice of which."""

    def __init__(self, length: int) -> None:
        """Expect about `length` images."""
        samples = max(min(length, 100), min(int(length**0.75), 10_000))
        self._wanted = set(np.round(np.linspace(0, length - 1, samples)).astype(int).tolist())
        self._taken: list[NDArray[Any]] = []
        self._count = 0

    def add(self, pixels: NDArray[Any]) -> None:
        """Take the next image (H, W, ...)."""
        if self._count in self._wanted:
            height, width = pixels.shape[:2]
            edge = max(height, width)
            step = 1 if edge < LARGEST else edge // THINNED
            self._taken.append(pixels[::step, ::step].copy())
        self._count += 1

    def colours(self) -> Statistics:
        """Return the statistics of colours, from 0 to 1, each of shape (3, 1, 1)."""
        pixels = np.concatenate([each.reshape(-1, 3) for each in self._taken])
        found = {
            name: value.reshape(3, 1, 1) / 255.0 for name, value in _statistics(pixels).items()
        }
        return found | {"count": np.array([len(self._taken)])}

    def depths(self) -> Statistics:
        """Return the statistics of all pixels that are no holes, each of shape (1,)."""
        pixels = np.concatenate([each.reshape(-1, 1) for each in self._taken])
        seen = pixels[pixels > 0].reshape(-1, 1)
        found = _statistics(seen if len(seen) else np.zeros((1, 1)))
        return found | {"count": np.array([len(self._taken)])}


def aggregate(parts: Sequence[Mapping[str, Statistics]]) -> dict[str, Statistics]:
    """Return the statistics of several episodes together; quantiles are the mean of theirs."""
    return {name: _aggregate([part[name] for part in parts]) for name in parts[0]}


def to_lists(statistics: Mapping[str, Statistics]) -> dict[str, dict[str, Any]]:
    """Return statistics as JSON has them."""
    return {
        name: {key: value.tolist() for key, value in each.items()}
        for name, each in statistics.items()
    }


def from_lists(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Statistics]:
    """Return the statistics that `to_lists` gave."""
    return {
        name: {key: np.array(value) for key, value in each.items()}
        for name, each in values.items()
    }


def _statistics(rows: NDArray[Any]) -> Statistics:
    levels = np.quantile(rows, list(QUANTILES.values()), axis=0)
    return {
        "min": rows.min(axis=0).astype(np.float64),
        "max": rows.max(axis=0).astype(np.float64),
        "mean": rows.mean(axis=0, dtype=np.float64),
        "std": rows.std(axis=0, dtype=np.float64),
        **dict(zip(QUANTILES, levels.astype(np.float64), strict=True)),
    }


def _aggregate(parts: Sequence[Statistics]) -> Statistics:
    counts = np.stack([part["count"] for part in parts]).astype(np.float64)
    weights = counts.reshape(-1, *[1] * parts[0]["mean"].ndim) / counts.sum()
    means = np.stack([part["mean"] for part in parts])
    mean = (weights * means).sum(axis=0)
    variances = np.stack([part["std"] ** 2 for part in parts]) + (means - mean) ** 2
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": mean,
        "std": np.sqrt((weights * variances).sum(axis=0)),
        "count": np.sum([part["count"] for part in parts], axis=0),
        **{
            name: (weights * np.stack([part[name] for part in parts])).sum(axis=0)
            for name in QUANTILES
        },
    }
