"""`vla_ros data split`: one recording becomes several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vla_ros.cli.editing_options import read_pairs, say
from vla_ros.core.errors import UserError
from vla_ros.data.tools.merging import Criterion, split_by_criterion, split_by_share


def split(
    recording: Annotated[Path, typer.Argument(help="Folder of a recording.")],
    output: Annotated[Path, typer.Argument(help="Folder that gets one recording per part.")],
    share: Annotated[
        list[str] | None, typer.Option(help="Part and share, as in train=0.9; again per part.")
    ] = None,
    by: Annotated[
        Criterion | None, typer.Option(help="Or: put those of one outcome or task together.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the order that --share deals out in.")] = 0,
) -> None:
    """Split a recording, at random by shares or by what its episodes are.

    vla_ros data split recordings parts --share train=0.9 --share val=0.1 --seed 7

    vla_ros data split recordings parts --by outcome
    """
    if (by is None) == (not share):
        raise UserError("give either --share, once per part, or --by")
    if by is not None:
        parts = split_by_criterion(recording, output, by)
    else:
        parts = split_by_share(recording, output, _shares(share), seed)
    for name, count in parts.items():
        say(f"{output / name}: {count} episodes")


def _shares(options: list[str] | None) -> dict[str, float]:
    pairs = read_pairs("--share", options)
    try:
        return {name: float(value) for name, value in pairs.items()}
    except ValueError as error:
        raise UserError(f"--share: expected a number behind '=': {error}") from error
