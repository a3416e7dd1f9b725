"""Draws a comparison. matplotlib belongs to the training packages: it is imported when drawing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vla_ros.core.errors import UserError
from vla_ros.evaluation.comparison import Comparison, Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg", ".pdf")


def plot_comparison(comparison: Comparison, picture: Path) -> None:
    """Draw success by suite and run, with 95 % intervals; and beside it success over latency.

    The second plot is left out where no run has a latency.

    Raises:
        UserError: if the file's ending is none of `FORMATS`.
        ModuleNotFoundError: if matplotlib is not installed.
    """
    if picture.suffix not in FORMATS:
        raise UserError(f"{picture}: expected a file that ends in {', '.join(FORMATS)}")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    timed = [run for run in comparison.runs if run.latency_ms is not None and run.overall]
    bars = len(comparison.runs) * max(1, len(comparison.suites))
    width = max(6.0, 1.5 + 0.22 * bars)
    figure = Figure(figsize=(width + 5.0 * bool(timed), 5), layout="constrained")
    FigureCanvasAgg(figure)
    if timed:
        left, right = figure.subplots(1, 2, width_ratios=(width, 5.0))
        _draw_latency(comparison, right)
    else:
        left = figure.subplots()
    _draw_suites(comparison, left)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


def _draw_suites(comparison: Comparison, axes: Axes) -> None:
    suites = comparison.suites
    width = 0.8 / len(comparison.runs)
    for index, run in enumerate(comparison.runs):
        places = [i for i, suite in enumerate(suites) if suite in run.suites]
        scores = [run.suites[suites[i]] for i in places]
        axes.bar(
            [i + (index - (len(comparison.runs) - 1) / 2) * width for i in places],
            [100 * score.success for score in scores],
            width,
            yerr=_errors(scores),
            label=run.name,
            color=f"C{index % 10}",
            hatch="//" if index >= 10 else None,
            error_kw={"elinewidth": 0.8, "ecolor": "0.3"},
        )
    axes.set_xticks(range(len(suites)), suites, rotation=30, ha="right")
    axes.set_ylim(0, 103)
    axes.set_ylabel("success [%], with 95 % interval")
    axes.grid(visible=True, axis="y", alpha=0.3)
    columns = min(len(comparison.runs), 7)
    axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns)


def _draw_latency(comparison: Comparison, axes: Axes) -> None:
    for index, run in enumerate(comparison.runs):
        if run.latency_ms is None or run.overall is None:
            continue
        axes.errorbar(
            [run.latency_ms],
            [100 * run.overall.success],
            yerr=_errors([run.overall]),
            fmt="o",
            color=f"C{index % 10}",
        )
        axes.annotate(
            run.name,
            (run.latency_ms, 100 * run.overall.success),
            xytext=(5, 4),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xlabel("latency [ms]")
    axes.set_ylabel("success [%]")
    axes.margins(x=0.3)
    axes.grid(visible=True, alpha=0.3)


def _errors(scores: list[Score]) -> list[list[float]]:
    """Return how far the intervals reach below and above, in points; 0 where there is none."""
    below = [100 * (s.success - s.low) if s.low is not None else 0.0 for s in scores]
    above = [100 * (s.high - s.success) if s.high is not None else 0.0 for s in scores]
    return [[max(0.0, value) for value in below], [max(0.0, value) for value in above]]
