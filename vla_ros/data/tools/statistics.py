"""Statistics of a recording's, or a LeRobotDataset's, features, computed anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.core.errors import UserError
from vla_ros.data.episode import episode_folders
from vla_ros.data.frames import open_episode
from vla_ros.data.lerobot.layout import INFO, STATS
from vla_ros.data.lerobot.reader import LeRobotReader
from vla_ros.data.lerobot.statistics import (
    ImageStatistics,
    Statistics,
    aggregate,
    from_lists,
    to_lists,
    vector_statistics,
)
from vla_ros.data.parallel import map_episodes

#: File of a recording that holds them.
RECORDING_STATISTICS = "statistics.json"
#: Is told how many episodes are done, of how many.
OnEpisode = Callable[[int, int], None]


def is_lerobot(dataset: Path) -> bool:
    """Return whether a folder is a LeRobotDataset, rather than a recording."""
    return (dataset / INFO).is_file()


def statistics_path(dataset: Path) -> Path:
    """Return the file that holds a dataset's statistics."""
    return dataset / (STATS if is_lerobot(dataset) else RECORDING_STATISTICS)


def compute_statistics(
    dataset: Path, workers: int = 0, on_episode: OnEpisode | None = None
) -> dict[str, Statistics]:
    """Return the statistics of every feature, as a conversion would write them.

    Args:
        dataset: Folder of a recording or of a LeRobotDataset.
        workers: Processes; 0 for one per core.
        on_episode: Is told of each episode that is done.

    Raises:
        UserError: if an episode cannot be read; names the first.
    """
    if is_lerobot(dataset):
        parts = []
        reader = LeRobotReader(dataset)
        for index, about in enumerate(reader.episodes):
            parts.append(_of_rows(reader, int(about["episode_index"]), int(about["length"])))
            if on_episode is not None:
                on_episode(index + 1, len(reader.episodes))
        return aggregate(parts)
    folders = episode_folders(dataset)
    found: dict[str, dict[str, Statistics]] = {}
    for result in map_episodes(episode_statistics, folders, workers=workers):
        if result.value is None:
            raise UserError(f"{result.source}: {result.error}")
        found[result.source] = from_lists(result.value)
        if on_episode is not None:
            on_episode(len(found), len(folders))
    parts = [found[str(folder)] for folder in folders]
    common = set(parts[0]).intersection(*parts)
    return aggregate([{name: part[name] for name in sorted(common)} for part in parts])


def write_statistics(dataset: Path, statistics: Mapping[str, Statistics], replace: bool) -> Path:
    """Write statistics where they belong, in one go; return the file.

    Raises:
        UserError: if there are some, and they are not to be replaced.
    """
    path = statistics_path(dataset)
    if path.exists() and not replace:
        raise UserError(f"{path}: is there already; --replace puts new ones in its place")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(to_lists(statistics), indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def episode_statistics(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the statistics of a recorded episode as JSON.

    Raises:
        UserError: if nothing can be read from it.
    """
    episode = open_episode(folder)
    expected = len(episode.stamps(episode.contract.observation(episode.reference).topic))
    vectors: dict[str, list[Any]] = {}
    pictures: dict[str, ImageStatistics] = {}

    def see(kind: str, images: Mapping[str, Any]) -> None:
        for camera, pixels in images.items():
            name = f"observation.{kind}.{camera}"
            pictures.setdefault(name, ImageStatistics(expected)).add(pixels)

    for frame in episode.frames():
        observation = frame.observation
        vectors.setdefault("action", []).append(frame.action)
        vectors.setdefault("observation.state", []).append(observation.state)
        see("images", observation.images)
        see("depth", observation.depths)
    if not vectors:
        raise UserError("holds no frame that a policy could have seen; see `vla_ros data check`")
    return to_lists(_gather(vectors, pictures))


def _of_rows(reader: LeRobotReader, index: int, length: int) -> dict[str, Statistics]:
    vectors: dict[str, list[Any]] = {}
    pictures: dict[str, ImageStatistics] = {}
    for row in reader.rows(index):
        for name in reader.features:
            value = np.asarray(row[name])
            if name.startswith(("observation.images.", "observation.depth.")):
                pictures.setdefault(name, ImageStatistics(length)).add(value)
            else:
                vectors.setdefault(name, []).append(value)
    return _gather(vectors, pictures)


def _gather(
    vectors: Mapping[str, Sequence[Any]], pictures: Mapping[str, ImageStatistics]
) -> dict[str, Statistics]:
    found = {name: vector_statistics(np.stack(values)) for name, values in vectors.items()}
    for name, images in pictures.items():
        found[name] = images.depths() if ".depth." in name else images.colours()
    return found


def summarize(statistics: Mapping[str, Statistics]) -> Iterable[tuple[str, str, str, str]]:
    """Yield name, mean, deviation and range of each feature, in words."""
    for name, each in statistics.items():
        mean, std = each["mean"].ravel(), each["std"].ravel()
        low, high = each["min"].ravel(), each["max"].ravel()
        yield name, _words(mean), _words(std), f"{low.min():.3g} … {high.max():.3g}"


def _words(values: Any) -> str:
    return " ".join(f"{value:.3g}" for value in values[:8]) + (" …" if len(values) > 8 else "")
