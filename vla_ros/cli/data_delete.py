"""`vla_ros data delete`: a recording without some episodes, features or tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vla_ros.cli.editing_options import read_numbers, say
from vla_ros.core.errors import UserError
from vla_ros.data.tools.editing import Deletion
from vla_ros.data.tools.editing import delete as delete_into


def delete(
    recording: Annotated[Path, typer.Argument(help="Folder of a recording; is left as it is.")],
    output: Annotated[Path, typer.Argument(help="Folder of the new recording.")],
    episodes: Annotated[str, typer.Option(help="Numbers, such as 0-3,7.")] = "",
    feature: Annotated[
        list[str] | None, typer.Option(help="Name in the contract; again for more.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="Instruction whose episodes go; again for more.")
    ] = None,
) -> None:
    """Copy a recording without some episodes, features or tasks; what stays is not copied twice.

    vla_ros data delete recordings clean --episodes 3,7-9 --feature observation.depth.wrist
    """
    deletion = Deletion(
        episodes=read_numbers("--episodes", episodes), features=feature or (), tasks=task or ()
    )
    if not (deletion.episodes or deletion.features or deletion.tasks):
        raise UserError("nothing to delete; give --episodes, --feature or --task")
    count = delete_into(recording, output, deletion)
    say(f"{output}: {count} episodes are left")
