"""`vla_ros data rename`: a recording with other numbers, names of features, or instructions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vla_ros.cli.editing_options import read_number, read_pairs, say
from vla_ros.core.errors import UserError
from vla_ros.data.tools.editing import Renaming
from vla_ros.data.tools.editing import rename as rename_into


def rename(
    recording: Annotated[Path, typer.Argument(help="Folder of a recording; is left as it is.")],
    output: Annotated[Path, typer.Argument(help="Folder of the new recording.")],
    episode: Annotated[list[str] | None, typer.Option(help="OLD=NEW number; again.")] = None,
    feature: Annotated[list[str] | None, typer.Option(help="OLD=NEW name; again.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="OLD=NEW instruction; again.")] = None,
) -> None:
    """Copy a recording under other names. Features are those of the contract; topics stay.

    vla_ros data rename recordings named --task "get the block=pick up the red cube"

    vla_ros data rename recordings named --feature observation.images.cam0=observation.images.top
    """
    numbers = {
        read_number("--episode", old): read_number("--episode", new)
        for old, new in read_pairs("--episode", episode).items()
    }
    renaming = Renaming(
        episodes=numbers,
        features=read_pairs("--feature", feature),
        tasks=read_pairs("--task", task),
    )
    if not (renaming.episodes or renaming.features or renaming.tasks):
        raise UserError("nothing to rename; give --episode, --feature or --task")
    say(f"{output}: {rename_into(recording, output, renaming)} episodes")
