"""Samples of a LeRobotDataset v3: small columns in memory, images and depth as they are wanted."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vla_ros.contract import ACTION, DEPTHS, IMAGES, IMU, STATE
from vla_ros.core.errors import UserError
from vla_ros.data.lerobot.features import from_stored
from vla_ros.data.lerobot.layout import DATA, INFO, VIDEO, FilePlace
from vla_ros.data.lerobot.reader import LeRobotReader
from vla_ros.data.lerobot.tables import to_array
from vla_ros.data.loading.sample import (
    ACTOR,
    COMMAND,
    EPISODE,
    FRAME,
    PADDED,
    STAMP,
    TASK,
    WEIGHT,
    Array,
    Asked,
    Feature,
    Joints,
    Sample,
    sample_weights,
)
from vla_ros.data.loading.videos import VideoReader

#: Columns that are kept in memory where a dataset has them.
SMALL = (STATE, COMMAND, ACTION, IMU, ACTOR, STAMP, "task_index", "episode_index", "index")
#: Columns of the table of episodes.
_FIRST, _STOP = "dataset_from_index", "dataset_to_index"
_PLACE = ("data/chunk_index", "data/file_index")
#: Steps of an action chunk that differ so little from whole frames are meant to be whole.
STEP_ERROR = 1e-3
#: Open files, and row groups of large columns, that are kept.
KEPT_FILES, KEPT_GROUPS = 4, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Where an episode lies: rows of its file, and the start of its videos [s] by feature."""

    path: Path
    first: int
    length: int
    videos: Mapping[str, tuple[Path, float]]


class LeRobotSamples:
    """The samples of a LeRobotDataset, whoever wrote it.

    Attributes:
        root: Folder of the dataset.
        fps: Frames per second.
    """

    def __init__(self, root: Path, asked: Asked | None = None) -> None:
        """Read everything but images and depth.

        Raises:
            UserError: if there is no such dataset, or it lacks what every sample has.
        """
        self.root, self._asked = root, asked or Asked()
        reader = LeRobotReader(root)
        self.fps, self._described = reader.fps, reader.features
        if not reader.episodes:
            raise UserError(f"{root}: has no episodes in meta/episodes")
        for name in (STATE, ACTION):
            if name not in self._described:
                raise UserError(f"{root}: has no feature {name}, which every sample has")
        self._tasks = reader.tasks
        self._parts: list[_Part] = []
        self._columns: dict[str, list[Array]] = {}
        self._read_rows(reader.episodes)
        self._weights = [self._weigh(episode) for episode in range(len(self._parts))]
        self._features = {
            name: _feature(name, value)
            for name, value in self._described.items()
            if (name.startswith((IMAGES, DEPTHS)) or name == IMU) and self._asked.wants(name)
        }
        self._videos: OrderedDict[tuple[int, Path], VideoReader] = OrderedDict()
        self._files: OrderedDict[Path, Any] = OrderedDict()
        self._groups: OrderedDict[tuple[Path, str, int], Any] = OrderedDict()

    @property
    def features(self) -> dict[str, Feature]:
        """What of an observation is asked for."""
        return self._features

    @property
    def lengths(self) -> list[int]:
        """Samples of each episode."""
        return [part.length for part in self._parts]

    @property
    def weights(self) -> list[Array]:
        """What each sample of each episode counts, (N,) each."""
        return self._weights

    def column(self, name: str, episode: int) -> Array:
        """Return a small feature of an episode, (N, ...); one of `SMALL`."""
        return self._columns[name][episode]

    def joints(self, episode: int) -> Joints:
        """Return where the joints were in all frames of an episode, and where they were sent."""
        state = self.column(STATE, episode)
        stamps = np.round(1e9 / self.fps * np.arange(len(state))).astype(np.int64)
        return Joints(
            stamps=self.column(STAMP, episode) if STAMP in self._columns else stamps,
            state=state,
            command=self.column(COMMAND, episode)
            if COMMAND in self._columns
            else np.full_like(state, np.nan),
        )

    def tasks(self, episode: int) -> list[str]:
        """Return the instruction of each sample of an episode."""
        return [self._tasks[int(number)] for number in self.column("task_index", episode)]

    def read(self, episode: int, first: int, stop: int) -> list[Sample]:
        """Return the samples of some frames of an episode that follow one another.

        Raises:
            UserError: if a video has fewer frames than the dataset says.
        """
        large = {
            name: self._large(name, episode, first, stop) for name in self._features if name != IMU
        }
        chunks, padded = self._chunks(episode, np.arange(first, stop))
        tasks = self.column("task_index", episode)
        samples = []
        for at in range(first, stop):
            sample: Sample = {
                STATE: self.column(STATE, episode)[at],
                ACTION: chunks[at - first],
                PADDED: padded[at - first],
                TASK: self._tasks[int(tasks[at])],
                WEIGHT: self._weights[episode][at],
                EPISODE: np.int64(episode),
                FRAME: np.int64(at),
            }
            for name in (COMMAND, ACTOR, STAMP):
                if name in self._columns:
                    sample[name] = self.column(name, episode)[at]
            if IMU in self._features:
                sample[IMU] = self.column(IMU, episode)[at]
            for name, values in large.items():
                sample[name] = values[at - first]
            samples.append(sample)
        return samples

    def _chunks(self, episode: int, frames: Array) -> tuple[Array, Array]:
        """Return the actions that follow frames (N, horizon, n), and which are made up.

        A row's action is in force until the next frame. Times between rows are interpolated.
        """
        actions, last = self.column(ACTION, episode), self._parts[episode].length - 1
        step = 1.0 if self._asked.step_s is None else self._asked.step_s * self.fps
        if abs(step - round(step)) < STEP_ERROR:
            step = round(step)
        rows = frames[:, None] + step * (np.arange(self._asked.horizon) + 1) - 1
        before = np.floor(rows).astype(np.int64)
        share = (rows - before)[..., None].astype(np.float32)
        chunks = actions[np.clip(before, 0, last)]
        if share.any():
            chunks = chunks + share * (actions[np.clip(before + 1, 0, last)] - chunks)
        return chunks, rows > last

    def _read_rows(self, episodes: Sequence[Mapping[str, Any]]) -> None:
        names = [name for name in SMALL if name in self._described]
        tables: dict[Path, tuple[int, dict[str, Array]]] = {}
        for row in episodes:
            path = FilePlace(chunk=row[_PLACE[0]], file=row[_PLACE[1]]).path(self.root, DATA)
            if path not in tables:
                table = pq.read_table(path, columns=names)
                arrays = {n: to_array(table[n], self._described[n]) for n in names}
                tables[path] = (int(arrays["index"].reshape(-1)[0]), arrays)
            before, arrays = tables[path]
            first, length = row[_FIRST] - before, row[_STOP] - row[_FIRST]
            for name, values in arrays.items():
                part = values[first : first + length]
                flat = part.reshape(-1) if self._described[name]["shape"] == [1] else part
                self._columns.setdefault(name, []).append(flat)
            self._parts.append(
                _Part(path=path, first=first, length=length, videos=self._videos_of(row))
            )

    def _videos_of(self, row: Mapping[str, Any]) -> dict[str, tuple[Path, float]]:
        found = {}
        for name, value in self._described.items():
            if value["dtype"] == "video":
                chunk, file = (row[f"videos/{name}/{which}_index"] for which in ("chunk", "file"))
                path = FilePlace(chunk=chunk, file=file).path(self.root, VIDEO, name)
                found[name] = (path, float(row[f"videos/{name}/from_timestamp"]))
        return found

    def _weigh(self, episode: int) -> Array:
        if ACTOR not in self._columns:
            return np.ones(self._parts[episode].length, np.float32)
        return sample_weights(self.column(ACTOR, episode), self._asked.intervention_weight)

    def _large(self, name: str, episode: int, first: int, stop: int) -> Sequence[Array]:
        """Return images or depth of some frames of an episode."""
        part = self._parts[episode]
        if name in part.videos:
            path, from_s = part.videos[name]
            return self._video(path).read(round(from_s * self.fps) + first, stop - first)
        values = self._column_rows(part.path, name, part.first + first, part.first + stop)
        described = self._described[name]
        if described["dtype"] == "image":
            return [_decode_png(value["bytes"].as_py(), name) for value in values]
        found = to_array(values, described)
        return list(from_stored(name, found, described).astype(np.float32, copy=False))

    def _video(self, path: Path) -> VideoReader:
        # a process that was forked shares the place in open files with its parent
        key = (os.getpid(), path)
        if key not in self._videos:
            while len(self._videos) >= KEPT_FILES:
                self._videos.popitem(last=False)[1].close()
            self._videos[key] = VideoReader(path, self.fps)
        self._videos.move_to_end(key)
        return self._videos[key]

    def _column_rows(self, path: Path, name: str, first: int, stop: int) -> Any:
        """Return rows of a large column of a file; whole row groups are read, and kept."""
        if path not in self._files:
            while len(self._files) >= KEPT_FILES:
                self._files.popitem(last=False)
            self._files[path] = pq.ParquetFile(path, memory_map=True)
        file = self._files[path]
        parts, at = [], 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if at < stop and at + rows > first:
                begin, end = max(first - at, 0), min(stop - at, rows)
                parts.append(self._group(file, path, name, group).slice(begin, end - begin))
            at += rows
        chunks = [chunk for part in parts for chunk in part.chunks]
        return pa.chunked_array(chunks, chunks[0].type)

    def _group(self, file: Any, path: Path, name: str, group: int) -> Any:
        key = (path, name, group)
        if key not in self._groups:
            while len(self._groups) >= KEPT_GROUPS:
                self._groups.popitem(last=False)
            self._groups[key] = file.read_row_group(group, columns=[name], use_threads=False)[name]
        self._groups.move_to_end(key)
        return self._groups[key]

    def __getstate__(self) -> Mapping[str, Any]:
        """Leave out what a worker process opens for itself."""
        opened = ("_videos", "_files", "_groups")
        nothing: dict[str, Any] = {name: OrderedDict() for name in opened}
        return {**self.__dict__, **nothing}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take what `__getstate__` gave."""
        self.__dict__.update(state)


def is_dataset(folder: Path) -> bool:
    """Whether a folder is a LeRobotDataset of any version."""
    return (folder / INFO).is_file()


def _feature(name: str, described: Mapping[str, Any]) -> Feature:
    shape = tuple(described["shape"])
    names = described.get("names") or []
    if name.startswith(IMAGES) and "channel" in str(names[:1]):  # some write (3, H, W)
        shape = (*shape[1:], shape[0])
    kind = "uint8" if name.startswith(IMAGES) else "float32"
    return Feature(shape=shape, dtype=kind)


def _decode_png(data: bytes, name: str) -> Array:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{name}: an image cannot be decoded")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
