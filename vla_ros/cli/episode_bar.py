"""The progress of episodes that are played, and the files that keep those that are finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vla_ros.evaluation.episode import EpisodeResult
from vla_ros.evaluation.suite import OnEpisode


@contextmanager
def episode_bar(total: int) -> Iterator[Callable[[str], OnEpisode]]:
    """Show one bar for all episodes, with the name and the successes of what is played.

    Yields:
        What takes the name of the next round of episodes, and returns what takes each result.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[good]} succeeded"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total, good=0)

        def watch(name: str) -> OnEpisode:
            good = 0
            progress.update(task, description=name, good=0)

            def on_episode(result: EpisodeResult) -> None:
                nonlocal good
                good += result.success
                progress.update(task, advance=1, good=good)

            return on_episode

        yield watch


def log_beside(json: Path | None, row: str = "") -> Path | None:
    """Return where finished episodes are kept until the evaluation that writes `json` is whole."""
    return None if json is None else json.with_name(f"{json.name}.episodes{row}")


def forget_episodes(json: Path | None) -> None:
    """Remove them, of all rows: the evaluation is whole."""
    if json is not None:
        for path in json.parent.glob(f"{json.name}.episodes*"):
            path.unlink()
