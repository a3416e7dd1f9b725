"""`vla_ros data check`: what is wrong in recorded episodes, and how good each is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from vla_ros.cli.task_language import task_language
from vla_ros.core.errors import UserError
from vla_ros.data.quality import Finding, QualityReport, Severity, Thresholds, check_recordings
from vla_ros.data.quality.checker import find_episodes, is_dataset
from vla_ros.data.quality.inspection import Inspection
from vla_ros.data.quality.language import Language
from vla_ros.data.storage import is_url

COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


def check(
    recordings: Annotated[
        list[str],
        typer.Argument(
            help="Recordings, episodes or LeRobotDatasets, checked as one: folders; URLs (s3://…)."
        ),
    ],
    report: Annotated[Path | None, typer.Option(help="Write a page (HTML) here.")] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write the findings here as JSON.")
    ] = None,
    fail_on: Annotated[
        str, typer.Option(help="Exit with 1 from this on: info, warning, error, or never.")
    ] = "warning",
    thresholds: Annotated[
        Path | None, typer.Option(help="YAML file of thresholds that differ.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="One threshold, such as idle_s=5; again.")
    ] = None,
    words: Annotated[
        Path | None, typer.Option(help="File of words that are spelt right, one a line.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes; 0 for one per core.")] = 0,
    ray: Annotated[
        str | None, typer.Option(help="Check on Ray: local, auto, or the address of a cluster.")
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what can be without guessing, into --output.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the mended recording; what is read stays.")
    ] = None,
) -> None:
    """Check recorded episodes: exit 0 if they are clean, 1 if not, 2 if they cannot be checked.

    vla_ros data check recordings --report check.html

    vla_ros data check recordings --fix --output mended
    """
    if fix != (output is not None):
        raise UserError("--fix and --output go together: what is read is never changed in place")
    limit = None if fail_on == "never" else Severity.parse(fail_on)
    settings = Thresholds.load(thresholds, setting or ())
    language = task_language(words)
    run = partial(_check, settings=settings, language=language, workers=workers)
    result = run(recordings, ray=ray)
    console = Console(soft_wrap=True)
    show(console, result)
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result.to_dict(), indent=2, ensure_ascii=False)
        json_path.write_text(f"{text}\n", encoding="utf-8")
    if report is not None:
        from vla_ros.data.quality.page import write_page

        write_page(result, report)
        console.print(f"{report}: the findings, with pictures", highlight=False)
    if output is not None:
        mended = _fix(console, result, recordings, output)
        result = run([str(output)], ray=None) if mended else result
        console.print(f"{output}: what is left", highlight=False)
        show(console, result)
    if limit is not None and result.reaches(limit):
        raise typer.Exit(1)


def show(console: Console, result: QualityReport) -> None:
    """Print a table of episodes, what was found in them, and how often."""
    table = Table("episode", "score", "s", "found", "instruction")
    for name in ("score", "s"):
        next(column for column in table.columns if column.header == name).justify = "right"
    for item in result.inspections:
        table.add_row(*_row(item))
    console.print(table)
    for finding in result.everything:
        _say(console, finding)
    bad = sum(item.worst is not None for item in result.inspections)
    counts = ", ".join(f"{name} {count}" for name, count in result.counts().items())
    scores = [item.score for item in result.inspections]
    console.print(
        f"{len(scores)} episodes, {bad} with findings{f' ({counts})' if counts else ''}; "
        f"mean score {sum(scores) / len(scores):.0f}",
        highlight=False,
    )


def _fix(console: Console, result: QualityReport, recordings: Sequence[str], output: Path) -> int:
    """Mend into a folder and say what was done; return how many episodes are left."""
    from vla_ros.data.quality.fix_plan import plan_fixes
    from vla_ros.data.quality.fixing import apply_fixes

    if remote := next((item for item in recordings if is_url(item)), None):
        raise UserError(f"{remote}: only folders can be mended; pull it first (vla_ros data pull)")
    if dataset := next((item for item in recordings if is_dataset(item)), None):
        raise UserError(f"{dataset}: is a dataset; mend its recordings, and convert them again")
    kept = 0
    for item in apply_fixes(plan_fixes(result), output):
        kept += not item.dropped
        for text in item.changes:
            console.print(f"[green]done[/] {item.folder.name}: {escape(text)}", highlight=False)
        for text in item.left:
            console.print(f"[yellow]left[/] {item.folder.name}: {escape(text)}", highlight=False)
    return kept


def _check(
    recordings: Sequence[str],
    settings: Thresholds,
    language: Language,
    workers: int,
    ray: str | None,
) -> QualityReport:
    columns = (
        TextColumn("checking"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[bad]} with findings"),
        TimeRemainingColumn(),
    )
    recorded = [item for item in recordings if not is_dataset(item)]
    total = len(find_episodes(recorded)) if len(recorded) == len(recordings) else None
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task, bad = progress.add_task("", total=total, bad=0), 0

        def on_episode(item: Inspection) -> None:
            nonlocal bad
            bad += item.worst is not None
            progress.update(task, advance=1, bad=bad)

        return check_recordings(
            recordings,
            settings,
            language=language,
            workers=workers,
            ray_address=ray,
            on_episode=on_episode,
        )


def _row(item: Inspection) -> tuple[str, ...]:
    names = dict.fromkeys(finding.check for finding in item.findings)
    colour = COLOURS[item.worst] if item.worst else "green"
    return (
        item.name,
        f"[{colour}]{item.score}[/]",
        f"{item.summary.duration_s:.1f}",
        ", ".join(names) or "-",
        escape(item.summary.instruction or "-"),
    )


def _say(console: Console, finding: Finding) -> None:
    console.print(
        f"[{COLOURS[finding.severity]}]{finding.severity.word}[/] "
        f"{finding.episode or 'recording'}: {finding.check}: {escape(finding.text)}. "
        f"{escape(finding.remedy)}",
        highlight=False,
    )
