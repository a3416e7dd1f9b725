"""`vla_ros data list`: the episodes of a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vla_ros.data.episode import Episode, State, episode_folders, message_files, read_episode


def list_episodes(
    recording: Annotated[Path, typer.Argument(help="Folder of a recording, or of an episode.")],
) -> None:
    """Show the episodes of a recording.

    vla_ros data list recordings
    """
    table = Table("episode", "state", "outcome", "s", "messages", "MB", "instruction")
    for name in ("s", "messages", "MB"):
        next(column for column in table.columns if column.header == name).justify = "right"
    episodes = []
    for folder in episode_folders(recording):
        episode = read_episode(folder)
        size = sum(path.stat().st_size for path in message_files(folder))
        table.add_row(folder.name, *_cells(episode, size))
        episodes.append(episode)
    console = Console(soft_wrap=True)
    console.print(table)
    total_s = sum(episode.duration_s for episode in episodes)
    console.print(f"{len(episodes)} episodes, {total_s:.1f} s", highlight=False)
    for episode in episodes:
        if episode.state is State.CUT:
            console.print(f"{episode.name} is cut: {escape(episode.cut)}", highlight=False)
        for warning in episode.warnings:
            console.print(f"{episode.name}: {escape(warning)}", highlight=False)


def _cells(episode: Episode, size: int) -> tuple[str, ...]:
    """Return the rest of an episode's row; `size` is that of its messages on disk [bytes]."""
    said = ", ".join(part for part in (episode.outcome.value, episode.label) if part)
    return (
        episode.state.value,
        escape(said or "-"),
        f"{episode.duration_s:.1f}",
        str(sum(episode.topics.values())),
        f"{size / 1e6:.1f}",
        escape(episode.instruction or "-"),
    )
