"""Draws an explained episode: one page of what was seen and what decided, and a film."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from vla_ros.core.types import UInt8Array
from vla_ros.engine.contributions import SOURCES
from vla_ros.evaluation.explanation import Explanation, Moment
from vla_ros.sim.environment import STEP_S

#: Moments of which the page shows what was looked at.
SHOWN = 4
CAMERAS = ("front", "wrist")
#: Colour of each source's bars.
BARS = dict(
    zip(SOURCES, ("#e8702a", "#3f8fd2", "#7a5fb0", "#9a9a9a", "#4aa564", "#d6b11f"), strict=True)
)
#: Colours of the picture file, so that it stays small.
PALETTE = 128


def write_explanation(explanation: Explanation, folder: Path) -> tuple[Path, Path, Path]:
    """Write explanation.png, attention.mp4 and explanation.json; return their paths.

    Args:
        explanation: At least one moment of it was explained.
        folder: Where to; made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page, film, data = (
        folder / name for name in ("explanation.png", "attention.mp4", "explanation.json")
    )
    _page(explanation).quantize(PALETTE, dither=Image.Dither.NONE).save(page, optimize=True)
    frames = np.stack([_both(moment) for moment in explanation.moments])
    imageio.imwrite(film, frames, fps=round(1 / STEP_S), macro_block_size=1)
    data.write_text(json.dumps(explanation.to_dict(), indent=2) + "\n", encoding="utf-8")
    return page, film, data


def _page(explanation: Explanation) -> Image.Image:
    """Return the page: overlays of both cameras over time, contributions below."""
    shown = _evenly(explanation.moments, SHOWN)
    figure = Figure(figsize=(11.2, 9.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(3, len(shown), height_ratios=(1, 1, 0.8))
    for column, moment in enumerate(shown):
        for row, camera in enumerate(CAMERAS):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(moment.draw(camera, 2), interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(f"{camera}, {moment.time_s:.1f} s", fontsize=9)
    _draw_contributions(figure.add_subplot(grid[2, :]), explanation)
    done = "done" if explanation.result.success else "not done"
    figure.suptitle(f'"{explanation.result.instruction}" ({done})', fontsize=11)
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    return Image.open(drawn).convert("RGB")


def _draw_contributions(axes: Axes, explanation: Explanation) -> None:
    """Stack what each source changes [mrad], one bar for each explained chunk."""
    moments = explanation.explained
    times = [moment.time_s for moment in moments]
    width = 0.8 * min(np.diff(times), default=STEP_S)
    level = np.zeros(len(moments))
    shares = explanation.mean_shares()
    for name in SOURCES:
        changes = np.array(
            [max(0.0, m.contributions.change_rad[name]) for m in moments if m.contributions]
        )
        label = f"{name} {shares[name]:.0%}"
        axes.bar(times, 1e3 * changes, width, bottom=level, color=BARS[name], label=label)
        level += 1e3 * changes
    axes.set_xlabel("time [s]")
    axes.set_ylabel("change without it [mrad]")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, ncols=len(SOURCES), loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _both(moment: Moment) -> UInt8Array:
    """Return both cameras side by side; a camera that was not there is left out."""
    seen = [moment.draw(camera) for camera in CAMERAS if camera in moment.images]
    return np.concatenate(seen, axis=1)


def _evenly(moments: tuple[Moment, ...], count: int) -> list[Moment]:
    """Return at most `count` moments, the first and the last among them."""
    chosen = np.linspace(0, len(moments) - 1, min(count, len(moments)))
    return [moments[round(index)] for index in chosen]
