"""Reads the episodes of a LeRobotDataset into what the checks look at.

A dataset has rows at one rate, and no messages: what was late, lost or out of order is no longer
to be seen. Pictures, motion, commands, tasks, duplicates and outliers are.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vla_ros.contract import ACTION, IMU, STATE, CommandSpec, FeatureKind, RobotContract
from vla_ros.core.errors import UserError
from vla_ros.data.episode import Episode, State
from vla_ros.data.lerobot.features import STAMP
from vla_ros.data.quality.pictures import PictureMeter
from vla_ros.data.quality.signals import PictureStream, Signals, Stream
from vla_ros.data.quality.thresholds import Thresholds

if TYPE_CHECKING:
    from vla_ros.data.lerobot.reader import LeRobotReader

#: Encodings of what a dataset's rows hold: colours, and depth in [m].
ENCODINGS = {FeatureKind.IMAGE: "rgb8", FeatureKind.DEPTH: "32FC1"}


class DatasetEpisodes:
    """The episodes of a dataset."""

    def __init__(self, root: Path, thresholds: Thresholds) -> None:
        """Open a dataset.

        Raises:
            UserError: if it is of another version, or has no robot contract; says what to do.
        """
        from vla_ros.data.lerobot.reader import LeRobotReader  # pyarrow takes a while

        self._reader: LeRobotReader = LeRobotReader(root)
        self._root, self._thresholds = root, thresholds
        found = self._reader.contract
        if found is None:
            raise UserError(
                f"{root}: expected the robot contract in it, as `vla_ros data convert` writes, got"
                " none; limits, joints and cameras are not known. Check the recordings instead."
            )
        self._made_with = found

    def __len__(self) -> int:
        """Return how many episodes there are."""
        return len(self._reader.episodes)

    def place(self, index: int) -> Path:
        """Return the name of an episode, as if it were a folder."""
        return self._root / f"episode_{index:06d}"

    @cached_property
    def contract(self) -> RobotContract:
        """The contract as it holds for rows: topics are features, all at one rate."""
        fps, made_with = self._reader.fps, self._made_with
        sensors = tuple(
            replace(
                item, topic=item.feature, rate_hz=fps, max_age_s=max(item.max_age_s, 3.0 / fps)
            )
            for item in made_with.observations
            if item.feature in self._reader.features
        )
        command = CommandSpec(topic=ACTION, type=made_with.action.command.type)
        # when a row's action was given is known to a control period: so much more may lie between
        slack = 1.0 + fps / made_with.action.control_rate_hz
        joints = tuple(
            replace(joint, velocity=slack * joint.velocity)
            for joint in made_with.action.joint_specs
        )
        action = replace(
            made_with.action, command=command, control_rate_hz=fps, joint_specs=joints
        )
        return replace(made_with, observations=sensors, action=action)

    def read(self, index: int) -> Signals:
        """Read an episode.

        Raises:
            UserError: if it cannot be read, or has no rows.
        """
        length_ns = round(1e9 * int(self._reader.episode(index)["length"]) / self._reader.fps)
        meters = {
            item.feature: PictureMeter(item, self._thresholds, length_ns)
            for item in self.contract.observations
            if item.camera
        }
        times: list[int] = []
        values: dict[str, list[Any]] = {STATE: [], ACTION: [], IMU: []}
        task = ""
        for row in self._reader.rows(index):
            # of vla_ros's own, when the picture was taken; else rows are evenly apart
            stamp = row.get(STAMP)
            seconds = float(row["timestamp"][0])
            times.append(round(1e9 * seconds) if stamp is None else int(stamp[0]))
            task = str(row["task"])
            for name, column in values.items():
                if name in row:  # of the IMU, a window that ends now
                    column.append(row[name][-1] if name == IMU else row[name])
            for item in self.contract.observations:
                if item.camera:
                    meters[item.feature].measure(
                        row[item.feature], ENCODINGS[item.kind], times[-1]
                    )
        if not times:
            raise UserError(f"{self._root}: expected rows in episode {index}, got none")
        return self._signals(index, np.array(times, np.int64), values, meters, task)

    def _signals(
        self,
        index: int,
        times: np.ndarray[tuple[int], np.dtype[np.int64]],
        values: dict[str, list[Any]],
        meters: dict[str, PictureMeter],
        task: str,
    ) -> Signals:
        streams, pictures = {}, dict[str, PictureStream]()
        period_ns = round(1e9 / self._reader.fps)
        kinds = {item.feature: item.type for item in self.contract.observations}
        kinds[ACTION] = self.contract.action.command.type
        for name, kind in kinds.items():
            column = values.get(name)
            streams[name] = Stream(
                topic=name,
                type=kind,
                # an action is what is in force one row later
                log_ns=times + period_ns if name == ACTION else times,
                values=np.array(column, np.float64) if column else None,
            )
        for name, meter in meters.items():
            measured = meter.finish(streams[name])
            if measured is not None:
                pictures[name] = measured
        return Signals(
            folder=self.place(index),
            episode=Episode(number=index, state=State.COMPLETE, instruction=task),
            contract=self.contract,
            start_ns=int(times[0]),
            end_ns=int(times[-1]) + period_ns,
            streams=streams,
            pictures=pictures,
            received={name: len(times) for name in streams},
        )
