"""Plots an episode: every joint, measured and commanded, and who had the arm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.contract import RobotContract
from vla_ros.core.errors import UserError
from vla_ros.data.episode import Episode
from vla_ros.data.showing.timeline import Timeline
from vla_ros.data.tools.subtasks import subtasks_of

#: A stretch in a strip: begin [s], end [s], what.
Stretch = tuple[float, float, str]
COLOURS = {
    "policy": "#2f6fb0",
    "operator": "#e8702a",
    "executing": "#3a9a5b",
    "hold": "#c9c9c9",
    "emergency stop": "#d9363e",
    "nobody": "#eeeeee",
}
OTHER = ("#8fb8de", "#c7b2e2", "#b5d7a8", "#f1c58b")


def plot_episode(
    episode: Episode, contract: RobotContract, timeline: Timeline, picture: Path
) -> None:
    """Write a picture (PNG) of an episode's joints, its actors, its gate and its subtasks.

    Raises:
        UserError: if matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("plots need matplotlib: pip install matplotlib, or --no-plot") from error
    strips = _strips(episode, timeline)
    joints = timeline.joints
    figure = Figure(
        figsize=(11, 1.25 * len(joints) + 0.35 * len(strips) + 1.0), layout="constrained"
    )
    FigureCanvasAgg(figure)
    rows = figure.subplots(
        len(joints) + len(strips),
        1,
        sharex=True,
        height_ratios=[4.0] * len(joints) + [1.0] * len(strips),
        squeeze=False,
    )[:, 0]
    for index, name in enumerate(joints):
        _draw_joint(rows[index], timeline, contract, index, name)
    rows[0].legend(loc="upper right", fontsize=8, ncols=3)
    for axes, (name, stretches) in zip(rows[len(joints) :], strips.items(), strict=True):
        _draw_strip(axes, name, stretches)
    rows[-1].set_xlabel("time [s]")
    rows[-1].set_xlim(0.0, float(timeline.seconds(timeline.end_ns)))
    outcome = episode.outcome.value or "outcome not said"
    figure.suptitle(f"{episode.name}: {episode.instruction or 'no instruction'} ({outcome})")
    figure.savefig(picture, dpi=110)


def _draw_joint(
    axes: Any, timeline: Timeline, contract: RobotContract, index: int, name: str
) -> None:
    limits = contract.limits
    low, high = float(limits.lower[index]), float(limits.upper[index])
    axes.plot(
        timeline.seconds(timeline.command_ns), timeline.commands[:, index],
        color="#e8702a", linewidth=1.0, drawstyle="steps-post", label="commanded",
    )  # fmt: skip
    axes.plot(
        timeline.seconds(timeline.state_ns), timeline.states[:, index],
        color="#2f6fb0", linewidth=1.0, label="measured",
    )  # fmt: skip
    seen = np.concatenate([timeline.commands[:, index], timeline.states[:, index]])
    if len(seen):
        margin = max(0.05, 0.1 * float(np.ptp(seen)))
        axes.set_ylim(seen.min() - margin, seen.max() + margin)
    for bound in (low, high):  # shown where the motion comes near it
        axes.axhline(bound, color="#d9363e", linewidth=0.7, linestyle="--")
    axes.set_ylabel(f"{name}\n[{contract.action.units[index]}]", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)


def _strips(episode: Episode, timeline: Timeline) -> dict[str, list[Stretch]]:
    """Return what there is to tell of stretches of time."""
    actors = tuple((at, name or "nobody") for at, name in timeline.actors)
    strips = {
        "actor": _stretches(actors, timeline),
        "gate": _stretches(timeline.gate, timeline),
        "told": _stretches(timeline.instructions, timeline)
        if len(timeline.instructions) > 1
        else [],
        "subtask": [(item.begin_s, item.end_s, item.text) for item in subtasks_of(episode)],
    }
    return {name: stretches for name, stretches in strips.items() if stretches}


def _stretches(changes: Sequence[tuple[int, str]], timeline: Timeline) -> list[Stretch]:
    ends = [*changes[1:], (timeline.end_ns, "")]
    return [
        (max(0.0, float(timeline.seconds(at))), float(timeline.seconds(end)), text)
        for (at, text), (end, _) in zip(changes, ends[: len(changes)], strict=True)
    ]


def _draw_strip(axes: Any, name: str, stretches: Sequence[Stretch]) -> None:
    total = max(end for _, end, _ in stretches)
    for number, (begin, end, text) in enumerate(stretches):
        colour = COLOURS.get(text, OTHER[number % len(OTHER)])
        axes.axvspan(begin, end, color=colour, linewidth=0)
        if end - begin > 0.05 * total:
            axes.text(
                0.5 * (begin + end), 0.5, text, ha="center", va="center", fontsize=7, clip_on=True
            )
    axes.set_ylim(0.0, 1.0)
    axes.set_yticks([])
    axes.set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")
