"""`vla_ros data statistics`: means, deviations and quantiles of a dataset, computed anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from vla_ros.cli.editing_options import say
from vla_ros.core.errors import UserError


def statistics(
    dataset: Annotated[Path, typer.Argument(help="Folder of a recording or a LeRobotDataset.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Put them in the place of those that are there.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes; 0 for one per core.", min=0)] = 0,
) -> None:
    """Compute a dataset's statistics anew, as after an edit, and write them into it.

    vla_ros data statistics recordings
    """
    from vla_ros.data.tools.statistics import (
        compute_statistics,
        statistics_path,
        summarize,
        write_statistics,
    )

    path = statistics_path(dataset)
    if path.exists() and not replace:  # found out before the work rather than after
        raise UserError(f"{path}: is there already; --replace puts new ones in its place")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("episodes", total=None)
        found = compute_statistics(
            dataset,
            workers,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    table = Table("feature", "mean", "deviation", "range")
    for row in summarize(found):
        table.add_row(*row)
    Console(soft_wrap=True).print(table)
    say(f"{write_statistics(dataset, found, replace)}: statistics of {len(found)} features")
