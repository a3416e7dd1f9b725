"""Reads a LeRobotDataset v3 in order, one episode after the other, without LeRobot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vla_ros.contract import RobotContract
from vla_ros.core.errors import UserError
from vla_ros.data.lerobot.features import from_stored
from vla_ros.data.lerobot.layout import CODEBASE_VERSION, INFO, ORIGIN, TASKS
from vla_ros.data.lerobot.tables import read_tasks, to_array
from vla_ros.data.lerobot.video import read_video

#: Rows that are read at a time.
BATCH = 64


class LeRobotReader:
    """A dataset on disk.

    Attributes:
        root: Its folder.
        info: What `meta/info.json` says.
    """

    def __init__(self, root: Path) -> None:
        """Open a dataset.

        Raises:
            UserError: if the folder holds none, or one of another version.
        """
        self.root = root
        try:
            self.info: dict[str, Any] = json.loads((root / INFO).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{root}: is no LeRobotDataset: {error}") from error
        version = self.info.get("codebase_version")
        if version != CODEBASE_VERSION:
            raise UserError(
                f"{root}: is a LeRobotDataset {version}; this reads {CODEBASE_VERSION}. LeRobot "
                "converts older ones: python -m lerobot.datasets.v30.convert_dataset_v21_to_v30"
            )

    @property
    def fps(self) -> float:
        """Rows per second."""
        return float(self.info["fps"])

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        """What the features are, by name."""
        return dict(self.info["features"])

    @cached_property
    def tasks(self) -> list[str]:
        """The tasks by their index."""
        return read_tasks(self.root / TASKS)

    @cached_property
    def episodes(self) -> list[dict[str, Any]]:
        """What is known of each episode, less the statistics, in order."""
        rows: list[dict[str, Any]] = []
        for path in sorted((self.root / "meta/episodes").glob("*/*.parquet")):
            names = [n for n in pq.read_schema(path).names if not n.startswith("stats/")]
            rows += pq.read_table(path, columns=names).to_pylist()
        return sorted(rows, key=lambda row: int(row["episode_index"]))

    @cached_property
    def contract(self) -> RobotContract | None:
        """The contract that the dataset was made with; None if it was not made by vla_ros."""
        path = self.root / ORIGIN
        if not path.is_file():
            return None
        return RobotContract.from_dict(json.loads(path.read_text("utf-8"))["contract"])

    def episode(self, index: int) -> dict[str, Any]:
        """Return what is known of an episode.

        Raises:
            UserError: if there is none of this number.
        """
        if not 0 <= index < len(self.episodes):
            raise UserError(f"{self.root}: has episodes 0 to {len(self.episodes) - 1}, no {index}")
        return self.episodes[index]

    def rows(self, index: int) -> Iterator[dict[str, Any]]:
        """Yield an episode's rows: arrays by feature, images as RGB, depth in [m], and `task`.

        Raises:
            UserError: if there is no such episode.
        """
        about = self.episode(index)
        videos = {
            name: self._video(about, name)
            for name, feature in self.features.items()
            if feature["dtype"] == "video"
        }
        for values in self._values(about):
            row = {name: next(images) for name, images in videos.items()}
            row |= values
            yield row | {"task": self.tasks[int(row["task_index"][0])]}

    def _values(self, about: dict[str, Any]) -> Iterator[dict[str, NDArray[Any]]]:
        path = self.root / self.info["data_path"].format(
            chunk_index=about["data/chunk_index"], file_index=about["data/file_index"]
        )
        kept = {k: f for k, f in self.features.items() if f["dtype"] != "video"}
        filters = [("episode_index", "=", int(about["episode_index"]))]
        table = pq.read_table(path, columns=list(kept), filters=filters)
        for batch in table.to_batches(BATCH):
            arrays = {
                name: _images(batch[name]) if f["dtype"] == "image" else to_array(batch[name], f)
                for name, f in kept.items()
            }
            for at in range(len(batch)):
                yield {name: from_stored(name, arrays[name][at], kept[name]) for name in kept}

    def _video(self, about: dict[str, Any], name: str) -> Iterator[NDArray[np.uint8]]:
        path = self.root / self.info["video_path"].format(
            video_key=name,
            chunk_index=about[f"videos/{name}/chunk_index"],
            file_index=about[f"videos/{name}/file_index"],
        )
        return read_video(path, about[f"videos/{name}/from_timestamp"], int(about["length"]))


def _images(column: Any) -> list[NDArray[Any]]:
    """Return the images of a column of PNG or JPEG files, as RGB."""
    found = []
    for item in column.to_pylist():
        pixels = cv2.imdecode(np.frombuffer(item["bytes"], np.uint8), cv2.IMREAD_COLOR)
        found.append(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    return found
