"""Drawings of an episode as SVG, to stand in a page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from vla_ros.data.quality.finding import Finding, Severity
from vla_ros.data.quality.summary import Line, Summary

#: Sizes of one joint's plot, and of the strips of rates [px].
WIDTH, HEIGHT, LEFT, BOTTOM = 330, 96, 40, 14
STRIP_WIDTH, STRIP_HEIGHT, STRIP_LEFT = 680, 15, 250
MARKS = {Severity.ERROR: "#d9363e", Severity.WARNING: "#e8a202", Severity.INFO: "#3f8fd2"}


def draw_joints(summary: Summary, findings: Sequence[Finding]) -> str:
    """Return one plot per joint: measured, commanded, and where something was found."""
    marked = [item for item in findings if item.time_s is not None and _is_motion(item)]
    return "".join(
        _draw_joint(summary, index, name, marked) for index, name in enumerate(summary.joints)
    )


def draw_rates(summary: Summary, findings: Sequence[Finding]) -> str:
    """Return a strip per topic: how much of the promised rate came when, and what was found."""
    height = STRIP_HEIGHT * len(summary.rates) + BOTTOM + 4
    parts = [f'<svg class="rates" viewBox="0 0 {STRIP_LEFT + STRIP_WIDTH + 10} {height}">']
    for row, (topic, rates) in enumerate(summary.rates.items()):
        top = row * STRIP_HEIGHT
        worst = max((item.severity for item in findings if item.topic == topic), default=None)
        colour = f' style="fill:{MARKS[worst]};font-weight:600"' if worst else ""
        place = f'x="{STRIP_LEFT - 6}" y="{top + 11}"'
        parts.append(f'<text {place} class="name"{colour}>{escape(topic)}</text>')
        step = STRIP_WIDTH / len(rates)
        for index, share in enumerate(rates):
            parts.append(
                f'<rect x="{STRIP_LEFT + index * step:.1f}" y="{top + 1}" width="{step + 0.3:.1f}"'
                f' height="{STRIP_HEIGHT - 3}" fill="{_shade(float(share))}">'
                f"<title>{share:.0%} of the promised rate</title></rect>"
            )
        parts += [
            _mark(item, summary.duration_s, (STRIP_LEFT, top, STRIP_WIDTH, STRIP_HEIGHT - 1))
            for item in findings
            if item.topic == topic and item.time_s is not None
        ]
    base = STRIP_HEIGHT * len(summary.rates) + 11
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchor = {0.0: "start", 1.0: "end"}.get(share, "middle")
        parts.append(
            f'<text x="{STRIP_LEFT + share * STRIP_WIDTH:.0f}" y="{base}"'
            f' text-anchor="{anchor}">{share * summary.duration_s:.1f} s</text>'
        )
    return "".join([*parts, "</svg>"])


def draw_histogram(values: Sequence[float], unit: str, bins: int = 20) -> str:
    """Return how often values occur."""
    counts, edges = np.histogram(values, bins)
    top, step = max(1, int(counts.max())), WIDTH / bins
    bars = "".join(
        f'<rect x="{index * step + 1:.1f}" y="{70 - 66 * count / top:.1f}" width="{step - 2:.1f}"'
        f' height="{66 * count / top:.1f}" fill="#3f8fd2"><title>{count}</title></rect>'
        for index, count in enumerate(counts)
    )
    return (
        f'<svg class="histogram" viewBox="0 0 {WIDTH} 86">{bars}'
        f'<text x="0" y="83">{edges[0]:.3g} {escape(unit)}</text>'
        f'<text x="{WIDTH}" y="83" text-anchor="end">{edges[-1]:.3g} {escape(unit)}</text></svg>'
    )


def _draw_joint(summary: Summary, joint: int, name: str, marked: Sequence[Finding]) -> str:
    lines = [
        (line, colour)
        for line, colour in ((summary.commands, "#e8702a"), (summary.state, "#2f6fb0"))
        if line is not None and line.values.shape[1] > joint
    ]
    nothing = np.zeros(0, np.float32)
    values = np.concatenate([nothing, *(line.values[:, joint] for line, _ in lines)])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    middle, half = 0.5 * (low + high), max(0.55 * (high - low), 0.01)
    frame = (LEFT, 4, WIDTH - LEFT - 6, HEIGHT - BOTTOM - 18)
    box = f'x="{frame[0]}" y="{frame[1] + 12}" width="{frame[2]}" height="{frame[3]}"'
    area = (frame[0], frame[1] + 12, frame[2], frame[3])
    marks = "".join(_mark(item, summary.duration_s, area) for item in marked)
    drawn = "".join(
        f'<polyline points="{_points(line, joint, summary.duration_s, area, middle, half)}"'
        f' stroke="{colour}"/>'
        for line, colour in lines
    )
    labels = (
        _text(LEFT - 3, area[1] + 8, f"{middle + half:.2f}", "end"),
        _text(LEFT - 3, area[1] + area[3], f"{middle - half:.2f}", "end"),
        _text(LEFT, HEIGHT - 3, "0 s", "start"),
        _text(WIDTH - 6, HEIGHT - 3, f"{summary.duration_s:.1f} s", "end"),
    )
    return (
        f'<svg class="joint" viewBox="0 0 {WIDTH} {HEIGHT}"><rect {box} class="box"/>'
        f'{marks}{drawn}<text x="{LEFT}" y="11" class="title">{escape(name)}</text>'
        f"{''.join(labels)}</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'


def _points(
    line: Line,
    joint: int,
    duration_s: float,
    area: tuple[float, float, float, float],
    middle: float,
    half: float,
) -> str:
    left, top, width, height = area
    good = np.isfinite(line.values[:, joint])
    xs = left + width * line.times_s[good] / max(duration_s, 1e-3)
    ys = top + height * (0.5 - 0.5 * (line.values[good, joint] - middle) / half)
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))


def _mark(item: Finding, duration_s: float, area: tuple[float, float, float, float]) -> str:
    """Return a stretch of time in which something was found, or a line for a moment."""
    left, top, width, height = area
    scale = width / max(duration_s, 1e-3)
    begin = item.time_s or 0.0
    wide = max(2.0, ((item.until_s or begin) - begin) * scale)
    x = min(left + begin * scale, left + width - wide)
    said = escape(f"{item.check}: {item.text}")
    return (
        f'<rect x="{x:.1f}" y="{top}" width="{wide:.1f}" height="{height}" class="mark"'
        f' fill="{MARKS[item.severity]}"><title>{said}</title></rect>'
    )


def _is_motion(item: Finding) -> bool:
    return item.check in ("limits", "idle", "lag", "gap", "silent", "frozen")


def _shade(share: float) -> str:
    """Return the colour of a part of the promised rate: red for none, grey for all."""
    if share < 0.05:
        return "#d9363e"
    if share < 0.75:
        return "#f0b35c"
    return "#9fc3a5" if share < 1.4 else "#8f7cc0"
