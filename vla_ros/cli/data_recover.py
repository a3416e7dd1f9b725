"""`vla_ros data recover`: mends what a recorder left behind that was killed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vla_ros.data.recording.recovery import recover_recording


def recover(
    recording: Annotated[Path, typer.Argument(help="Folder of the recording.")],
) -> None:
    """Mend the episodes of a recording that nobody closed; touch no other.

    Whole messages stay, a torn end is taken away, the index is written, and the episode is marked
    as cut. The recorder does the same when it starts in the folder.

    vla_ros data recover recordings
    """
    console = Console(soft_wrap=True)
    mended = recover_recording(recording)
    for item in mended:
        episode = item.episode
        console.print(
            f"{episode.name}: cut; {sum(episode.topics.values())} messages, "
            f"{episode.duration_s:.1f} s are whole, {item.removed} torn bytes removed",
            highlight=False,
        )
    if not mended:
        console.print(f"{recording}: every episode is closed", highlight=False)
