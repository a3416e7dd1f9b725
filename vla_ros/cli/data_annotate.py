"""`vla_ros data annotate`: what is done when within an episode."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from vla_ros.cli.editing_options import say
from vla_ros.core.errors import UserError
from vla_ros.data.episode import read_episode
from vla_ros.data.tools.subtasks import Subtask, subtasks_of
from vla_ros.data.tools.subtasks import annotate as annotate_episode

_STRETCH = re.compile(r"^\s*([\d.]+)\s*-\s*([\d.]+)\s*[=:]\s*(.+)$")


def annotate(
    episode: Annotated[Path, typer.Argument(help="Folder of an episode.")],
    subtask: Annotated[
        list[str] | None,
        typer.Option(help="Seconds from the beginning, and words: 0-1.2=reach for it; again."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put these in the place of those that are there.")
    ] = False,
) -> None:
    """Say what is done when in an episode; without --subtask, show what is said.

    vla_ros data annotate recordings/episode_000000 --subtask "0-1.2=reach for the cube"
    """
    if subtask or replace:
        found = [_read(text) for text in subtask or ()]
        changed = annotate_episode(episode, found, overwrite=replace)
        say(f"{episode}: {len(subtasks_of(changed))} subtasks")
    for item in subtasks_of(read_episode(episode)):
        say(f"{item.begin_s:8.3f} - {item.end_s:.3f} s  {item.text}")


def _read(text: str) -> Subtask:
    match = _STRETCH.match(text)
    try:
        if match is None:
            raise ValueError
        return Subtask(begin_s=float(match[1]), end_s=float(match[2]), text=match[3])
    except ValueError:
        raise UserError(f"--subtask {text!r}: expected BEGIN-END=WORDS, in seconds") from None
