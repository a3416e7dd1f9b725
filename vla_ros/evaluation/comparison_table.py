"""A comparison as the cells of a table, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vla_ros.evaluation.comparison import Comparison, Run, Score

#: Behind a number that was found on other scenes than those beside it.
MARK = "*"
UNKNOWN = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """A table of text.

    Attributes:
        title: Above it.
        header: Of the columns.
        rows: One per run.
        notes: What the marks mean.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """Return it in Markdown."""
        lines = [self.header, tuple("---" for _ in self.header), *self.rows]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        notes = "\n".join(f"{note}\n" for note in self.notes)
        return f"{self.title}:\n\n{table}\n" + (f"\n{notes}" if notes else "")


def tabulate(comparison: Comparison) -> list[Cells]:
    """Return the tables of a comparison: successes, and points lost if there are some."""
    suites = comparison.suites
    header = ("run", "fusion", "parameters", "success (95 %)", *suites, "latency")
    rows = tuple(
        (
            run.name,
            run.fusion or UNKNOWN,
            _millions(run.parameters),
            _with_interval(run.overall),
            *(_cell(comparison, run, suite) for suite in suites),
            UNKNOWN if run.latency_ms is None else f"{run.latency_ms:.1f} ms",
        )
        for run in comparison.runs
    )
    tables = [
        Cells(title="Success in %", header=header, rows=rows, notes=_notes(comparison)),
    ]
    names = comparison.disturbances
    if names:
        lost = tuple(
            (
                run.name,
                *(_points(run.points_lost[n]) if n in run.points_lost else UNKNOWN for n in names),
            )
            for run in comparison.runs
        )
        tables.append(
            Cells(title="Points lost with bad senses", header=("run", *names), rows=lost)
        )
    return tables


def _cell(comparison: Comparison, run: Run, suite: str) -> str:
    if suite not in run.suites:
        return UNKNOWN
    mark = MARK if comparison.strange(run, suite) else ""
    return f"{100 * run.suites[suite].success:.1f}{mark}"


def _with_interval(score: Score | None) -> str:
    if score is None:
        return UNKNOWN
    if score.low is None or score.high is None:
        return f"{100 * score.success:.1f}"
    return f"{100 * score.success:.1f} ({100 * score.low:.1f} to {100 * score.high:.1f})"


def _points(value: float) -> str:
    return f"{value:.1f}"


def _millions(parameters: int | None) -> str:
    return UNKNOWN if parameters is None else f"{parameters / 1e6:.2f} M"


def _notes(comparison: Comparison) -> tuple[str, ...]:
    """Return what the marked numbers were found on, one line for each run and its scenes."""
    notes: Sequence[str] = [
        f"{MARK} {run.name}, {suite}: {run.suites[suite].scenes}; elsewhere "
        f"{comparison.usual(suite)}"
        for run in comparison.runs
        for suite in run.suites
        if comparison.strange(run, suite)
    ]
    return tuple(notes)
