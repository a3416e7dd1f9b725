"""`vla_ros compare`: put the results of evaluations side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from vla_ros.evaluation.comparison_files import read_comparison
from vla_ros.evaluation.comparison_plot import plot_comparison
from vla_ros.evaluation.comparison_table import Cells, tabulate
from vla_ros.evaluation.pooling import pool_fusions


def compare(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Folders with the JSON files of `vla_ros eval --json`, or such files; or the "
            "rows of bench/fusion.py.",
            metavar="DIR...",
            show_default=False,
        ),
    ],
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw success by suite, and over latency, into this picture."),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the table here as Markdown.")
    ] = None,
    pool: Annotated[
        bool, typer.Option("--pool", help="Make one row of all runs with the same fusion.")
    ] = False,
) -> None:
    """Print one row for each policy: what it is, how often it succeeds on what, how fast it is.

    A row is one bundle in one folder. What was measured on other scenes than most is marked.

    vla_ros eval --policy models/a --json out/a/core.json

    vla_ros eval --policy models/a --suite reasoning --json out/a/reasoning.json

    vla_ros compare out/a out/b --plot out/compare.png --markdown out/compare.md

    vla_ros compare bench/results/fusion.json --pool --plot out/fusion.png
    """
    comparison = read_comparison(results)
    if pool:
        comparison = pool_fusions(comparison)
    tables = tabulate(comparison)
    console = Console(soft_wrap=True, highlight=False)
    for cells in tables:
        console.print(_printed(cells))
        for note in cells.notes:
            console.print(note, markup=False)
    if comparison.skipped:
        names = ", ".join(str(path) for path in comparison.skipped)
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            f"no results of an evaluation in {names}", style="dim"
        )
    if markdown is not None:
        markdown.parent.mkdir(parents=True, exist_ok=True)
        text = "\n".join(cells.markdown() for cells in tables)
        markdown.write_text(text, encoding="utf-8")
    if plot is not None:
        plot_comparison(comparison, plot)


def _printed(cells: Cells) -> Table:
    table = Table(*cells.header, title=cells.title, title_justify="left")
    for row in cells.rows:
        table.add_row(*row)
    return table
