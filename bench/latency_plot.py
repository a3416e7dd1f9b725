"""Draws what `bench/latency_hiding.py` measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

#: Colour of each scheduling, distinct for colour-blind readers (Okabe and Ito).
COLOURS = {
    "synchronous": "#999999",
    "asynchronous": "#E69F00",
    "ensemble": "#56B4E9",
    "real_time": "#009E73",
    "real_time_trained": "#CC79A7",
}


def draw(cells: Mapping[str, Mapping[str, Mapping[str, Any]]], path: Path) -> None:
    """Draw success and jerk over the delay, with 95 % intervals.

    Args:
        cells: By scheduling, then by delay in [ms].
        path: Where the PNG goes.
    """
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.0, 3.6), layout="constrained")
    for name, row in cells.items():
        delays = [float(delay) for delay in row]
        for axis, key, scale in ((left, "success", 100.0), (right, "jerk_rms", 1.0)):
            middle = [scale * cell[key] for cell in row.values()]
            low = [scale * cell[f"{key}_low"] for cell in row.values()]
            high = [scale * cell[f"{key}_high"] for cell in row.values()]
            axis.plot(delays, middle, marker="o", color=COLOURS.get(name), label=name)
            axis.fill_between(delays, low, high, color=COLOURS.get(name), alpha=0.12, linewidth=0)
    left.set_ylabel("success [%]")
    left.set_ylim(0, 102)
    right.set_ylabel("jerk, RMS [rad/s³]")
    right.set_ylim(bottom=0)
    for axis in (left, right):
        axis.set_xlabel("inference delay [ms]")
        axis.grid(alpha=0.3)
    left.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
