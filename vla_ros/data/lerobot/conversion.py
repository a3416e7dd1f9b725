"""Recordings to a LeRobotDataset: episode by episode, in parallel, and able to go on.

While it runs, the output folder holds `.conversion/` with what is staged and a journal; a run that
was killed goes on from there and ends with the same files. The dataset appears when all is done.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vla_ros import __version__
from vla_ros.core.errors import UserError
from vla_ros.data.lerobot.assembly import assemble
from vla_ros.data.lerobot.layout import INFO, ORIGIN
from vla_ros.data.lerobot.staging import Conversion, stager
from vla_ros.data.parallel import Processed, map_episodes
from vla_ros.data.storage import Source, episode_sources, is_url

WORK, JOURNAL, STAGED, BUILT = ".conversion", "journal.jsonl", "staged", "dataset"
#: Is told of each episode that is done, and how many there are.
OnEpisode = Callable[[Processed[dict[str, Any]], int], None]
WRITERS, BAD = ("auto", "own", "lerobot"), ("refuse", "skip")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionReport:
    """What became of a conversion.

    Attributes:
        episodes: That are in the dataset.
        frames: Of them.
        leading: Frames left out at their beginnings, before all features were there.
        resumed: Episodes that an earlier run had converted.
        skipped: Why each of the others is not in it, by episode.
        writer: Who wrote it, `own` or `lerobot`.
        finished_before: Whether the dataset was there already, whole.
    """

    episodes: int
    frames: int
    leading: int
    resumed: int
    skipped: dict[str, str]
    writer: str
    finished_before: bool = False


def convert(
    recordings: Sequence[Source],
    output: Path,
    conversion: Conversion,
    *,
    bad: str = "refuse",
    writer: str = "auto",
    workers: int = 0,
    ray_address: str | None = None,
    on_episode: OnEpisode | None = None,
) -> ConversionReport:
    """Make a LeRobotDataset v3 of recordings.

    Args:
        recordings: Folders or URLs, of recordings or of single episodes.
        output: Folder of the dataset; new, or of a run of the same that was stopped.
        conversion: What is kept, and how.
        bad: What is done with an episode that cannot be converted: `refuse` or `skip`.
        writer: `own`, `lerobot` (LeRobot has to be installed), or `auto` for that where it is.
        workers: Processes; 0 for one per core.
        ray_address: None for this machine; else of a Ray cluster that sees `output`.
        on_episode: Is told of each episode that is done, and how many there are.

    Raises:
        UserError: if an episode is bad and is not to be skipped, or none is good; if the output
            is of something else.
    """
    _check_choice("--bad", bad, BAD)
    sources = [str(each) for recording in recordings for each in episode_sources(recording)]
    settings = _settings(conversion, _choose(writer), sources)
    if (output / INFO).is_file():
        return _finished(output, settings)
    if output.is_dir() and any(item.name != WORK for item in output.iterdir()):
        _clear_half_moved(output)
    if settings["writer"] == "lerobot":
        from vla_ros.data.lerobot.foreign_writer import convert_with_lerobot

        return convert_with_lerobot(
            sources, output, conversion, settings, bad=bad, on_episode=on_episode
        )
    results = _stage(
        sources, output / WORK, conversion, settings, bad, workers, ray_address, on_episode
    )
    return _put_together(sources, results, output, conversion, settings)


def _stage(
    sources: Sequence[str],
    work: Path,
    conversion: Conversion,
    settings: dict[str, Any],
    bad: str,
    workers: int,
    ray_address: str | None,
    on_episode: OnEpisode | None,
) -> dict[str, Processed[dict[str, Any]]]:
    """Convert each episode on its own; return what became of them, by source."""
    (work / STAGED).mkdir(parents=True, exist_ok=True)
    results: dict[str, Processed[dict[str, Any]]] = {}
    for result in map_episodes(
        stager(conversion, (work / STAGED).resolve()),
        sources,
        workers=workers,
        ray_address=ray_address,
        journal=work / JOURNAL,
        settings=settings,
    ):
        if result.error and is_url(result.source):  # it names the copy that was worked on
            result = replace(result, error=f"{result.source}: {result.error}")
        if result.error and bad == "refuse":
            raise UserError(refusal(result))
        results[result.source] = result
        if on_episode is not None:
            on_episode(result, len(sources))
    return results


def _put_together(
    sources: Sequence[str],
    results: dict[str, Processed[dict[str, Any]]],
    output: Path,
    conversion: Conversion,
    settings: dict[str, Any],
) -> ConversionReport:
    work, good = output / WORK, dict[str, dict[str, Any]]()
    for source in sources:
        value = results[source].value
        if value is not None:
            good[source] = value
    skipped = {source: results[source].error for source in sources if results[source].error}
    require_some(list(good), skipped)
    staged = [(work / STAGED / value["staged"], _absolute(each)) for each, value in good.items()]
    assemble(staged, conversion.features, work / BUILT, origin_of(settings, skipped))
    move_in(work / BUILT, output)
    shutil.rmtree(work)
    return ConversionReport(
        episodes=len(good),
        frames=sum(int(value["length"]) for value in good.values()),
        leading=sum(int(value["leading"]) for value in good.values()),
        resumed=sum(results[source].resumed for source in good),
        skipped=skipped,
        writer="own",
    )


def refusal(result: Processed[Any]) -> str:
    """Return the text for an episode that ends the conversion."""
    return (
        f"{result.error}\nNothing was written; what was converted so far is kept for another run. "
        "Leave such episodes out with --bad skip."
    )


def require_some(good: Sequence[object], skipped: dict[str, str]) -> None:
    """Check that something is left.

    Raises:
        UserError: if every episode is bad; says why the first is.
    """
    if not good:
        why = next(iter(skipped.values()), "there are none")
        raise UserError(f"none of {len(skipped)} episodes can be converted; the first: {why}")


def origin_of(settings: dict[str, Any], skipped: dict[str, str]) -> dict[str, Any]:
    """Return what a dataset keeps of how it was made."""
    return {"vla_ros": __version__, "settings": settings, "skipped": skipped}


def move_in(built: Path, output: Path) -> None:
    """Move a dataset into its place, `meta` last: with it the dataset is whole."""
    for path in sorted(built.iterdir(), key=lambda item: item.name == "meta"):
        path.replace(output / path.name)


def _settings(conversion: Conversion, writer: str, sources: Sequence[str]) -> dict[str, Any]:
    features = conversion.features
    return {
        "contract_sha256": features.contract.sha256,
        "without": list(features.without),
        "depth": features.depth,
        "images": features.storage,
        "codec": conversion.codec,
        "task": conversion.task,
        "keep_cut": conversion.keep_cut,
        "writer": writer,
        "episodes": [_absolute(item) for item in sources],
    }


def _absolute(source: str) -> str:
    return source if is_url(source) else str(Path(source).resolve())


def _choose(writer: str) -> str:
    _check_choice("--writer", writer, WRITERS)
    installed = importlib.util.find_spec("lerobot") is not None
    if writer == "lerobot" and not installed:
        raise UserError(
            "--writer lerobot: LeRobot is not installed here (requirements/lerobot.txt); "
            "--writer own makes the same files without it"
        )
    return ("lerobot" if installed else "own") if writer == "auto" else writer


def _check_choice(option: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(f"{option} {value}: expected one of {', '.join(choices)}")


def _finished(output: Path, settings: dict[str, Any]) -> ConversionReport:
    """Return the report of a dataset that is there, if it is the one that is asked for."""
    origin, info = output / ORIGIN, json.loads((output / INFO).read_text("utf-8"))
    made = json.loads(origin.read_text("utf-8")) if origin.is_file() else {}
    if made.get("settings") != settings:
        raise UserError(
            f"{output}: is a dataset already, of other episodes or settings. Name another folder; "
            "`vla_ros data merge` puts datasets together"
        )
    shutil.rmtree(output / WORK, ignore_errors=True)
    return ConversionReport(
        episodes=info["total_episodes"],
        frames=info["total_frames"],
        leading=0,
        resumed=info["total_episodes"],
        skipped=made["skipped"],
        writer=settings["writer"],
        finished_before=True,
    )


def _clear_half_moved(output: Path) -> None:
    """Remove what an earlier run had moved in before it was stopped.

    Raises:
        UserError: if the folder holds anything else.
    """
    ours = {"data", "videos", WORK}
    others = sorted(item.name for item in output.iterdir() if item.name not in ours)
    if others or not (output / WORK).is_dir():
        raise UserError(f"{output}: is not empty; name a new folder for the dataset")
    for name in ("data", "videos"):
        shutil.rmtree(output / name, ignore_errors=True)
