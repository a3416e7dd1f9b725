"""`vla_ros prune`: remove the hidden units of a policy that matter least."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from vla_ros.cli.language_files import language_directory
from vla_ros.core.errors import UserError
from vla_ros.learning.checkpoints import policy_from_checkpoint
from vla_ros.learning.pruning import CRITERIA, PruningConfig, prune, save_pruned
from vla_ros.policy.hidden_units import hidden_units
from vla_ros.policy.model import Policy


def prune_policy(
    policy: Annotated[Path, typer.Argument(help="Bundle or checkpoint.pt to make smaller.")],
    output: Annotated[Path, typer.Argument(help="The checkpoint to write: runs/pruned.pt.")],
    share: Annotated[
        float, typer.Option(help="Of the hidden units of every layer to remove, 0 to 1.")
    ] = 0.3,
    data: Annotated[
        list[Path] | None, typer.Option(help="Folder of shards that say what matters; repeatedly.")
    ] = None,
    by: Annotated[
        str, typer.Option(help=f"How to tell what matters: {' or '.join(CRITERIA)}.")
    ] = "taylor",
    batches: Annotated[int, typer.Option(help="Batches of demonstrations to look at.")] = 40,
    language: Annotated[
        Path | None, typer.Option(help="Folder with its language encoder; shipped one.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    threads: Annotated[int, typer.Option(help="Of torch; 0 takes all cores.")] = 0,
) -> None:
    """Remove hidden units: of feed-forward layers, of heads, and channels of the image encoders.

    What is left is an ordinary, smaller policy with a smaller graph. It can be exported as it is,
    or trained on to make good what it lost:

    vla_ros prune models/tabletop-small runs/pruned.pt --share 0.3 --data data/expert

    vla_ros train --start runs/pruned.pt --data data/expert --output runs/pruned --steps 1500

    vla_ros export runs/pruned/checkpoint.pt models/pruned
    """
    if output.is_dir():
        raise UserError(
            f"{output}: is a folder; name the file to write, such as {output / 'pruned.pt'}"
        )
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    config = PruningConfig(
        source=policy,
        language=language_directory(language, output.with_suffix(".language")),
        data=tuple(data or ()),
        share=share,
        by=by,
        batches=batches,
        seed=seed,
    )
    before = policy_from_checkpoint(policy)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        with Progress(console=console) as progress:
            task = progress.add_task("what matters", total=batches)
            smaller = prune(config, lambda done: progress.update(task, completed=done))
    except FileNotFoundError as error:
        raise UserError(str(error)) from error
    save_pruned(smaller, config, output)
    Console(soft_wrap=True).print(_table(before, smaller))
    console.print(f"{output}: train it on with vla_ros train --start {output}")


def _table(before: Policy, after: Policy) -> Table:
    """Return hidden units and parameters of each part, before and after."""
    table = Table("part", "hidden units", "left", "parameters", "left")
    prefixes = {name: f"{name}." for name, _ in before.named_children()} | {"in all": ""}
    for part, prefix in prefixes.items():
        (units, parameters), (left, smaller) = (_count(each, prefix) for each in (before, after))
        if parameters:
            table.add_row(part, *(f"{value:,}" for value in (units, left, parameters, smaller)))
    return table


def _count(policy: Policy, prefix: str) -> tuple[int, int]:
    """Return the hidden units and the parameters of the part whose names begin so."""
    units, parameters = hidden_units(policy), policy.named_parameters()
    return (
        sum(each.count for name, each in units.items() if name.startswith(prefix)),
        sum(value.numel() for name, value in parameters if name.startswith(prefix)),
    )
