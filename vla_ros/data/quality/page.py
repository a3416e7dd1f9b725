"""The findings as one HTML page with pictures, which needs no other file and no network."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from vla_ros import __version__
from vla_ros.core.resources import resource_path
from vla_ros.data.quality.checker import QualityReport
from vla_ros.data.quality.finding import Finding, Severity
from vla_ros.data.quality.inspection import Inspection
from vla_ros.data.quality.plots import draw_histogram, draw_joints, draw_rates

STYLE = "config/quality/page.css"
#: Episodes that are drawn, the worst first: each takes some 100 kB. All are in the table.
DRAWN = 200
#: Instructions that are listed by how often they occur.
LISTED = 12


def write_page(report: QualityReport, path: Path) -> None:
    """Write the page of a report.

    Args:
        report: What was found.
        path: Of the file; its folder is made if it is not there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(make_page(report), encoding="utf-8")


def make_page(report: QualityReport) -> str:
    """Return the page of a report as HTML."""
    style = resource_path(STYLE).read_text(encoding="utf-8")
    shown = sorted(report.inspections, key=lambda item: (item.score, item.name))[:DRAWN]
    left_out = len(report.inspections) - len(shown)
    note = f"<p>{left_out} episodes with better scores are not drawn.</p>" if left_out else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Recorded episodes, checked</title><style>{style}</style></head><body><main>"
        f"<h1>Recorded episodes, checked</h1>{_tiles(report)}{_counts(report)}{_balance(report)}"
        f"{_table(report.inspections)}<h2>Episodes, the worst first</h2>{note}"
        f"{''.join(_episode(item) for item in shown)}"
        f"<footer>vla_ros {escape(__version__)}; what the checks and the score are: "
        "docs/how-to/check-data.md</footer></main></body></html>\n"
    )


def _tiles(report: QualityReport) -> str:
    items, found = report.inspections, report.everything
    scores = [item.score for item in items]
    seconds = sum(item.summary.duration_s for item in items)
    tiles = {
        "episodes": str(len(items)),
        "recorded": f"{seconds / 60:.1f} min",
        "mean score": f"{sum(scores) / max(1, len(scores)):.0f}",
        "without findings": str(sum(item.worst is None for item in items)),
        "errors": str(sum(item.severity is Severity.ERROR for item in found)),
        "warnings": str(sum(item.severity is Severity.WARNING for item in found)),
    }
    return '<div class="tiles">{}</div>'.format(
        "".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in tiles.items())
    )


def _counts(report: QualityReport) -> str:
    counts = report.counts()
    if not counts:
        return "<p>Nothing was found.</p>"
    whole = "".join(_finding(item) for item in report.findings)
    said = f"<h2>The recording as a whole</h2><ul>{whole}</ul>" if whole else ""
    return f"<h2>What was found</h2><table class=counts>{_bars(counts)}</table>{said}"


def _balance(report: QualityReport) -> str:
    summaries = [item.summary for item in report.inspections if item.summary.messages]
    if not summaries:
        return ""
    texts = Counter(item.instruction.strip() or "(none)" for item in summaries)
    outcomes = Counter(item.outcome or "not judged" for item in summaries)
    rest = len(texts) - LISTED
    more = f"<tr><td></td><td>… and {rest} others</td></tr>" if rest > 0 else ""
    classes = "".join(
        f"<h3>{escape(kind)}</h3><table class=counts>{_bars(counts)}</table>"
        for kind, counts in report.classes.items()
        if counts
    )
    lengths = draw_histogram([item.duration_s for item in summaries], "s")
    paths = draw_histogram([item.path_rad for item in summaries], "rad")
    return (
        "<h2>What the episodes are</h2><div class=columns>"
        f"<section><h3>Lengths</h3>{lengths}<h3>Paths of the joints</h3>{paths}"
        f"<h3>Outcomes</h3><table>{_rows(outcomes.most_common())}</table></section>"
        f"<section><h3>Instructions ({len(texts)} different)</h3>"
        f"<table>{_rows(texts.most_common(LISTED))}{more}</table></section>"
        f"<section>{classes}</section></div>"
    )


def _bars(counts: Mapping[str, int]) -> str:
    most = max(counts.values())
    return "".join(
        f"<tr><th>{escape(name)}</th><td class=bar><i style='width:{100 * count / most:.0f}%'></i>"
        f"</td><td>{count}</td></tr>"
        for name, count in sorted(counts.items(), key=lambda item: -item[1])
    )


def _rows(counts: Iterable[tuple[str, int]]) -> str:
    return "".join(f"<tr><td>{count}</td><td>{escape(text)}</td></tr>" for text, count in counts)


def _table(items: Sequence[Inspection]) -> str:
    rows = "".join(
        f"<tr><td><a href='#{escape(item.name)}'>{escape(item.name)}</a></td>"
        f"<td>{_badge(item)}</td><td>{item.summary.duration_s:.1f}</td>"
        f"<td>{escape(', '.join(dict.fromkeys(f.check for f in item.findings)) or '–')}</td>"
        f"<td>{escape(item.summary.outcome or '–')}</td>"
        f"<td>{escape(item.summary.instruction or '–')}</td></tr>"
        for item in items
    )
    return (
        "<h2>All episodes</h2><table class=episodes><tr><th>episode</th><th>score</th><th>s</th>"
        f"<th>found</th><th>outcome</th><th>instruction</th></tr>{rows}</table>"
    )


def _episode(item: Inspection) -> str:
    summary = item.summary
    cameras = "".join(
        f"<tr><th>{escape(topic)}</th>{''.join(_thumbnail(*each) for each in pictures)}</tr>"
        for topic, pictures in summary.thumbnails.items()
    )
    lag = f"lag {1e3 * summary.lag.seconds:.0f} ms" if summary.lag else "no lag measured"
    drawn = ""
    if summary.messages:
        drawn = (
            f"<table class=cameras>{cameras}</table>"
            "<p class=legend><i style='background:#2f6fb0'></i>measured "
            "<i style='background:#e8702a'></i>commanded; below, how much of the promised rate "
            "came: <i style='background:#9fc3a5'></i>all <i style='background:#f0b35c'></i>some "
            "<i style='background:#d9363e'></i>none <i style='background:#8f7cc0'></i>more</p>"
            f"<div class=joints>{draw_joints(summary, item.findings)}</div>"
            f"{draw_rates(summary, item.findings)}"
        )
    found = "".join(_finding(finding) for finding in item.findings)
    said = f"<ul>{found}</ul>" if found else "<p>Nothing was found.</p>"
    return (
        f"<details id='{escape(item.name)}'{' open' if item.findings else ''}><summary>"
        f"{_badge(item)} <b>{escape(item.name)}</b> {escape(summary.instruction)}"
        f"<span>{summary.duration_s:.1f} s, {lag}, {escape(summary.outcome or 'not judged')}"
        f"</span></summary>{said}{drawn}</details>"
    )


def _thumbnail(time_s: float, picture: bytes) -> str:
    data = base64.b64encode(picture).decode("ascii")
    return f'<td><img alt="" src="data:image/jpeg;base64,{data}"><br>{time_s:.1f} s</td>'


def _finding(item: Finding) -> str:
    return (
        f"<li class={item.severity.word}><b>{escape(item.check)}</b> {escape(item.text)}. "
        f"<em>{escape(item.remedy)}</em></li>"
    )


def _badge(item: Inspection) -> str:
    kind = item.worst.word if item.worst else "clean"
    return f"<span class='badge {kind}'>{item.score}</span>"
