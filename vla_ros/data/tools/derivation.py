"""Makes a recording of another one, episode by episode, on as many processes as there are.

What is finished stays in `.NAME.partial` beside the output until all is: a run that was stopped
goes on there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vla_ros.data.parallel import Processed, map_episodes
from vla_ros.data.storage import Source
from vla_ros.data.tools.staging import refuse_existing, staged

#: Derives episodes of the one in a folder into a recording; returns their names, and what to tell.
Derive = Callable[[Path, Path], "Derived"]
JOURNAL = "journal.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """What was made of one episode.

    Attributes:
        episodes: Names of the folders that were made.
        notes: What is worth telling.
    """

    episodes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def derive_recording(
    derive: Derive,
    sources: Sequence[Source],
    output: Path,
    *,
    settings: Mapping[str, object],
    workers: int = 0,
    ray_address: str | None = None,
) -> Iterator[Processed[Derived]]:
    """Make a recording; yield what became of each source, as it is finished.

    The output is there once the last was yielded, with what could be made.

    Args:
        derive: Is given a source's folder and the new recording; can be pickled.
        sources: Episodes, each with a number of its own.
        output: Folder of the new recording.
        settings: Of `derive`: a run that was stopped goes on with the same ones only.
        workers: Processes; 0 for one per core.
        ray_address: See `map_episodes`.

    Raises:
        UserError: if the output is there, or was begun with other settings.
    """
    refuse_existing(output)
    place = output.with_name(f".{output.name}.partial").absolute()
    place.mkdir(parents=True, exist_ok=True)
    results = map_episodes(
        partial(_derive_one, derive=derive, place=place),
        sources,
        workers=workers,
        ray_address=ray_address,
        journal=place / JOURNAL,
        settings=settings,
    )
    for result in results:
        value = result.value or {}
        yield Processed(
            source=result.source,
            value=None
            if result.error
            else Derived(
                episodes=tuple(value.get("episodes", ())), notes=tuple(value.get("notes", ()))
            ),
            error=result.error,
            resumed=result.resumed,
        )
    (place / JOURNAL).unlink(missing_ok=True)
    if output.is_dir():  # and empty
        output.rmdir()
    place.rename(output)


def _derive_one(source: Path, derive: Derive, place: Path) -> dict[str, list[str]]:
    """Derive into a folder beside, then move what is whole into the recording."""
    shutil.rmtree(place / f"of_{source.name}", ignore_errors=True)  # of a run that was killed
    with staged(place / f"of_{source.name}") as mine:
        made = derive(source, mine)
    for name in made.episodes:
        shutil.rmtree(place / name, ignore_errors=True)  # of a run that ended just here
        (place / f"of_{source.name}" / name).rename(place / name)
    shutil.rmtree(place / f"of_{source.name}")
    return {"episodes": list(made.episodes), "notes": list(made.notes)}
