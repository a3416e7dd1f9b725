"""`vla_ros data merge`: several recordings become one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vla_ros.cli.editing_options import say
from vla_ros.data.tools.merging import merge_recordings


def merge(
    recordings: Annotated[list[Path], typer.Argument(help="Recordings, or episodes, in order.")],
    output: Annotated[Path, typer.Option(help="Folder of the new recording.")],
) -> None:
    """Write the episodes of several recordings into a new one, numbered from 0.

    vla_ros data merge monday tuesday --output week
    """
    count = merge_recordings(recordings, output)
    say(f"{output}: {count} episodes of {len(recordings)} recordings")
