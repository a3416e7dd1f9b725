"""Staged episodes put together into a dataset; nothing is encoded or decoded again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vla_ros.data.lerobot.features import DatasetFeatures
from vla_ros.data.lerobot.layout import (
    CHUNK_SIZE,
    CODEBASE_VERSION,
    DATA,
    DATA_FILE_MB,
    EPISODES,
    INFO,
    ORIGIN,
    STATS,
    TASKS,
    VIDEO,
    VIDEO_FILE_MB,
    FilePlace,
)
from vla_ros.data.lerobot.staging import DESCRIPTION, ROWS
from vla_ros.data.lerobot.statistics import aggregate, from_lists, to_lists, vector_statistics
from vla_ros.data.lerobot.tables import RowWriter, write_tasks
from vla_ros.data.lerobot.video import describe_video, join_videos

MB = 1024**2


@dataclass(slots=True)
class _Entry:
    """What is known of one episode while the dataset is put together."""

    folder: Path
    about: dict[str, Any]
    first: int
    columns: dict[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        return int(self.about["length"])


def assemble(
    staged: Sequence[tuple[Path, str]],
    features: DatasetFeatures,
    root: Path,
    origin: Mapping[str, Any],
    file_mb: tuple[float, float] = (DATA_FILE_MB, VIDEO_FILE_MB),
) -> None:
    """Write a dataset of staged episodes.

    Args:
        staged: Their folders and where each comes from, in the order that they get.
        features: That they were staged with.
        root: Folder of the dataset: made, and emptied first.
        origin: How the dataset was made; kept in it.
        file_mb: Sizes from which on parquet files and videos are continued in another [MB].
    """
    shutil.rmtree(root, ignore_errors=True)
    (root / "meta").mkdir(parents=True)
    entries, first = [], 0
    for folder, source in staged:
        about = json.loads((folder / DESCRIPTION).read_text("utf-8"))
        about["recording"] = PurePosixPath(source).parent.name
        entries.append(_Entry(folder, about, first))
        first += entries[-1].length
    tasks = list(dict.fromkeys(task for entry in entries for task in entry.about["tasks"]))
    _write_rows(entries, features, root, tasks, file_mb[0])
    for key in features.videos:
        _write_videos(entries, features.fps, root, key, file_mb[1])
    write_tasks(root / TASKS, tasks)
    _write_episodes(entries, root)
    _write_info(entries, features, root, len(tasks))
    statistics = aggregate([from_lists(entry.about["statistics"]) for entry in entries])
    _write_json(root / STATS, to_lists(statistics))
    _write_json(root / ORIGIN, {**origin, "contract": features.contract.to_dict()})


def _write_rows(
    entries: Sequence[_Entry],
    features: DatasetFeatures,
    root: Path,
    tasks: Sequence[str],
    largest_mb: float,
) -> None:
    number = {task: index for index, task in enumerate(tasks)}
    described = features.describe()
    for place, group in _share(entries, ROWS, largest_mb):
        path = place.path(root, DATA)
        path.parent.mkdir(parents=True, exist_ok=True)
        with RowWriter(path, described) as writer:
            for entry in group:
                entry.columns |= {"data/chunk_index": place.chunk, "data/file_index": place.file}
                source, at = pq.ParquetFile(entry.folder / ROWS), 0
                counters = _counters(entry, entries.index(entry), features.fps, number)
                for batch in source.iter_batches(batch_size=writer.batch):
                    table = pa.Table.from_batches([batch])
                    for name, values in counters.items():
                        table = table.append_column(name, pa.array(values[at : at + len(batch)]))
                    writer.add_table(table)
                    at += len(batch)
                for name, values in counters.items():
                    statistics = vector_statistics(values.reshape(-1, 1))
                    entry.about["statistics"] |= to_lists({name: statistics})


def _counters(
    entry: _Entry, index: int, fps: int, number: Mapping[str, int]
) -> dict[str, np.ndarray[Any, Any]]:
    frames = np.arange(entry.length, dtype=np.int64)
    return {
        "timestamp": (frames / fps).astype(np.float32),
        "frame_index": frames,
        "episode_index": np.full(entry.length, index, np.int64),
        "index": entry.first + frames,
        "task_index": np.array([number[task] for task in entry.about["tasks"]], np.int64),
    }


def _write_videos(
    entries: Sequence[_Entry], fps: int, root: Path, key: str, largest_mb: float
) -> None:
    for place, group in _share(entries, f"{key}.mp4", largest_mb):
        parts = [(entry.folder / f"{key}.mp4", entry.length) for entry in group]
        join_videos(parts, place.path(root, VIDEO, key), fps)
        before = 0
        for entry in group:
            entry.columns |= {
                f"videos/{key}/chunk_index": place.chunk,
                f"videos/{key}/file_index": place.file,
                f"videos/{key}/from_timestamp": before / fps,
                f"videos/{key}/to_timestamp": (before + entry.length) / fps,
            }
            before += entry.length


def _share(
    entries: Sequence[_Entry], name: str, largest_mb: float
) -> list[tuple[FilePlace, list[_Entry]]]:
    """Share out the episodes among files that are not too large."""
    groups: list[tuple[FilePlace, list[_Entry]]] = []
    size = 0.0
    for entry in entries:
        part = (entry.folder / name).stat().st_size / MB
        if not groups:
            groups.append((FilePlace(), []))
        elif size + part >= largest_mb:
            groups.append((groups[-1][0].next, []))
            size = 0.0
        groups[-1][1].append(entry)
        size += part
    return groups


def _write_episodes(entries: Sequence[_Entry], root: Path) -> None:
    rows = []
    for index, entry in enumerate(entries):
        about = entry.about
        row: dict[str, Any] = {
            "episode_index": index,
            "tasks": list(dict.fromkeys(about["tasks"])),
            "length": entry.length,
            **entry.columns,
            "dataset_from_index": entry.first,
            "dataset_to_index": entry.first + entry.length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        row |= {f"vla_ros/{name}": about[name] for name in _KEPT}
        for feature, statistics in about["statistics"].items():
            row |= {f"stats/{feature}/{name}": value for name, value in statistics.items()}
        rows.append(row)
    path = FilePlace().path(root, EPISODES)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


_KEPT = ("recording", "number", "outcome", "label", "operator", "bundle")


def _write_info(
    entries: Sequence[_Entry], features: DatasetFeatures, root: Path, tasks: int
) -> None:
    described = features.describe()
    for key in features.videos:
        described[key]["info"] = describe_video(FilePlace().path(root, VIDEO, key))
    info = {
        "codebase_version": CODEBASE_VERSION,
        "robot_type": features.contract.name,
        "total_episodes": len(entries),
        "total_frames": sum(entry.length for entry in entries),
        "total_tasks": tasks,
        "chunks_size": CHUNK_SIZE,
        "data_files_size_in_mb": DATA_FILE_MB,
        "video_files_size_in_mb": VIDEO_FILE_MB,
        "fps": features.fps,
        "splits": {"train": f"0:{len(entries)}"},
        "data_path": DATA,
        "video_path": VIDEO if features.videos else None,
        "features": described,
    }
    _write_json(root / INFO, info)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    text = json.dumps(values, indent=4, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")
