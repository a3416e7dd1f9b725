"""One recorded episode to the files that a dataset is put together from.

    staged/<number>/
      data.parquet     the rows, less what depends on the episodes before
      <feature>.mp4    a video of each camera
      episode.json     length, tasks, statistics

The folder appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vla_ros.contract import IMAGES, RobotContract, load_contract
from vla_ros.core.errors import ContractError
from vla_ros.data.bad_recordings import BadRecording, FrameChecks, check_contract, check_recording
from vla_ros.data.episode import CONTRACT, Outcome, message_files, read_episode
from vla_ros.data.episode import DESCRIPTION as EPISODE
from vla_ros.data.frames import Frame, RecordedEpisode, open_episode
from vla_ros.data.lerobot.features import (
    ACTOR,
    ACTORS,
    DONE,
    INTERVENTION,
    SUCCESS,
    DatasetFeatures,
    Row,
)
from vla_ros.data.lerobot.statistics import (
    ImageStatistics,
    Statistics,
    to_lists,
    vector_statistics,
)
from vla_ros.data.lerobot.tables import RowWriter
from vla_ros.data.lerobot.video import VideoEncoder

DESCRIPTION, ROWS = "episode.json", "data.parquet"
#: The end of a file of messages: an index of them with their times, and checksums.
TAIL_BYTES = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """How episodes are converted.

    Attributes:
        features: What is kept.
        codec: Of the videos.
        task: Instruction of frames that have none.
        keep_cut: Take what is whole of episodes that were cut off.
    """

    features: DatasetFeatures
    codec: str = "libsvtav1"
    task: str = ""
    keep_cut: bool = False


def open_for(folder: Path, contract: RobotContract) -> RecordedEpisode:
    """Return an episode to be read by a dataset's contract.

    Raises:
        BadRecording: if it was recorded with another.
    """
    wanted = open_episode(folder, contract)
    try:
        own = load_contract(folder / CONTRACT)
    except ContractError as error:
        raise BadRecording(wanted, f"its contract cannot be read: {error}") from error
    check_contract(RecordedEpisode(folder, wanted.info, own), contract)
    return wanted


def good_frames(
    episode: RecordedEpisode, conversion: Conversion, checks: FrameChecks
) -> Iterator[tuple[Frame, str]]:
    """Yield the frames that become rows, each with its task.

    Args:
        episode: Of `open_for`.
        conversion: What is wanted.
        checks: Of that episode; counts what is left out at the beginning.

    Raises:
        BadRecording: if the episode cannot be converted; names the time.
    """
    features = conversion.features
    check_recording(episode, features.observations, keep_cut=conversion.keep_cut)
    for frame in checks.frames():
        task = frame.instruction or conversion.task
        if not task:
            raise BadRecording(
                episode, "there is no instruction; give one with --task", frame.stamp_ns
            )
        yield frame, task


def stage_episode(folder: Path, conversion: Conversion, staged: Path) -> dict[str, Any]:
    """Convert an episode into a folder under `staged`.

    Returns:
        What `episode.json` there says, less statistics and tasks, and the folder's name.

    Raises:
        BadRecording: if the episode cannot be converted; nothing is left of it.
    """
    target = staged / staged_name(folder)
    partial_ = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(partial_, ignore_errors=True)
    partial_.mkdir(parents=True)
    try:
        episode = open_for(folder, conversion.features.contract)
        found = _Stage(episode, conversion, partial_).run()
        shutil.rmtree(target, ignore_errors=True)
        partial_.replace(target)
    finally:
        shutil.rmtree(partial_, ignore_errors=True)
    brief = {name: found[name] for name in ("number", "length", "leading")}
    return brief | {"staged": target.name}


def staged_name(folder: Path) -> str:
    """Return the name of an episode's staged folder: told from what it holds.

    Not from where it lies: of an episode in object storage that is a copy, elsewhere each time.
    """
    known = hashlib.sha256((folder / EPISODE).read_bytes())
    for path in message_files(folder):
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            known.update(str(size).encode() + file.read())
    return f"{read_episode(folder).name}-{known.hexdigest()[:16]}"


class _Stage:
    """Writes one episode's files."""

    def __init__(self, episode: RecordedEpisode, conversion: Conversion, folder: Path) -> None:
        self._episode, self._conversion, self._folder = episode, conversion, folder
        self._features = conversion.features
        reference = episode.contract.observation(episode.reference)
        length = max(1, len(episode.times(reference.topic)))
        pictures = (*self._features.images, *self._features.depths)
        self._pictures = {feature: ImageStatistics(length) for feature in pictures}
        self._checks = FrameChecks(episode, self._features.missing)
        self._rows: list[Row] = []
        self._tasks: list[str] = []

    def run(self) -> dict[str, Any]:
        features, codec = self._features, self._conversion.codec
        encoders = {
            feature: VideoEncoder(self._folder / f"{feature}.mp4", features.fps, codec)
            for feature in features.videos
        }
        try:
            with RowWriter(self._folder / ROWS, features.describe()) as writer:
                pending: list[Row] = []
                for frame, task in good_frames(self._episode, self._conversion, self._checks):
                    row = self._take(frame, encoders)
                    self._tasks.append(task)
                    pending.append(row)
                    if len(pending) > writer.batch:  # the last row is told from the others
                        writer.add(self._complete(pending[:-1], last=False))
                        pending = pending[-1:]
                writer.add(self._complete(pending, last=True))
        finally:
            for encoder in encoders.values():
                encoder.close()
        found = self._describe()
        (self._folder / DESCRIPTION).write_text(json.dumps(found, indent=1), "utf-8")
        return found

    def _take(self, frame: Frame, encoders: dict[str, VideoEncoder]) -> Row:
        row = self._features.row(frame)
        for feature in self._features.images:
            image = frame.observation.images[feature.removeprefix(IMAGES)]
            self._pictures[feature].add(image)
            if feature in encoders:
                encoders[feature].add(image)
            else:
                _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
                row[feature] = png
        for feature in self._features.depths:
            self._pictures[feature].add(row[feature])
        return row

    def _complete(self, rows: list[Row], *, last: bool) -> list[Row]:
        """Add what is known only now, and keep what is small for the statistics."""
        success = self._episode.info.outcome is Outcome.SUCCESS
        helped = self._helped()
        for index, row in enumerate(rows):
            ends = last and index == len(rows) - 1
            row[DONE], row[SUCCESS] = np.array([ends]), np.array([ends and success])
            row[INTERVENTION] = np.array([helped and row[ACTOR][0] == ACTORS["operator"]])
        large = (*self._features.images, *self._features.depths)
        self._rows += [{k: v for k, v in row.items() if k not in large} for row in rows]
        return rows

    def _helped(self) -> bool:
        """Whether an operator is one who takes over, from a policy that acts too."""
        return any(actor == "policy" for _, actor in self._episode.index.actors)

    def _describe(self) -> dict[str, Any]:
        info = self._episode.info
        return {
            "number": info.number,
            "length": len(self._rows),
            "leading": self._checks.leading,
            "tasks": self._tasks,
            "outcome": info.outcome.value,
            "label": info.label,
            "operator": info.operator,
            "bundle": info.bundle,
            "statistics": to_lists(self._statistics()),
        }

    def _statistics(self) -> dict[str, Statistics]:
        found = {}
        for feature in self._features.describe():
            if feature in self._features.images:
                found[feature] = self._pictures[feature].colours()
            elif feature in self._features.depths:
                found[feature] = self._pictures[feature].depths()
            elif self._rows and feature in self._rows[0]:
                values: NDArray[Any] = np.stack([row[feature] for row in self._rows])
                found[feature] = vector_statistics(values)
        return found


def stager(conversion: Conversion, staged: Path) -> partial[dict[str, Any]]:
    """Return the function of an episode's folder that other processes can be given."""
    return partial(stage_episode, conversion=conversion, staged=staged)
