"""Draws the losses of a training run."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def read_losses(log: Path) -> dict[str, dict[int, float]]:
    """Return term -> step -> value of a loss log.

    Steps that a resumed run did again count once, as they went the last time.
    """
    terms: dict[str, dict[int, float]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:  # the run was killed while it wrote this line
            continue
        step = int(entry.pop("step"))
        for term, value in entry.items():
            terms.setdefault(term, {})[step] = float(value)
    return terms


def plot_losses(log: Path, picture: Path) -> None:
    """Write a picture with one curve per term; nothing if nothing is logged yet."""
    terms = read_losses(log) if log.exists() else {}
    if not terms:
        return
    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for term, values in terms.items():
        steps = sorted(values)
        axes.plot(steps, [values[step] for step in steps], label=term, linewidth=1)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.set_yscale("log")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
    partial = picture.with_suffix(".partial.png")
    figure.savefig(partial, dpi=110)
    partial.rename(picture)
