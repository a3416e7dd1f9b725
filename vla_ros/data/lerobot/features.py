"""Which features a dataset has, and the row that a recorded frame becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros.contract import ACTION, DEPTHS, IMAGES, IMU, STATE, FeatureKind, RobotContract
from vla_ros.core.conventions import IMU_WINDOW
from vla_ros.core.errors import UserError
from vla_ros.data.frames import Frame
from vla_ros.observation.images import Float32Array

COMMAND = "observation.command"
ACTOR, INTERVENTION, STAMP = "actor", "intervention", "stamp_ns"
DONE, SUCCESS = "next.done", "next.success"
#: Values of the feature `actor`.
ACTORS = {"": 0, "policy": 1, "operator": 2}
#: How depth may be kept: whole millimetres, or the metres of the observation as they are.
DEPTH_TYPES = {"mm": "uint16", "float32": "float32"}
STORAGES = ("video", "png")
#: Bounds of a video's edge: most encoders want even numbers.
GRAIN = 2

Row = dict[str, NDArray[Any]]

#: What LeRobot adds to every dataset.
COUNTERS: dict[str, dict[str, Any]] = {
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    "frame_index": {"dtype": "int64", "shape": [1], "names": None},
    "episode_index": {"dtype": "int64", "shape": [1], "names": None},
    "index": {"dtype": "int64", "shape": [1], "names": None},
    "task_index": {"dtype": "int64", "shape": [1], "names": None},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFeatures:
    """What is kept of a robot's recordings.

    Attributes:
        contract: Of the robot.
        without: Features that are left out.
        depth: How depth is kept: `mm` or `float32`.
        storage: How images are kept: `video`, or without loss as `png` in the parquet files.
    """

    contract: RobotContract
    without: tuple[str, ...] = ()
    depth: str = "mm"
    storage: str = "video"

    def __post_init__(self) -> None:
        """Refuse what does not exist.

        Raises:
            UserError: if a feature that is left out is none, or is needed; if an image is too odd.
        """
        known = [item.feature for item in self.contract.observations] + [COMMAND]
        for feature in self.without:
            if feature not in known or feature in (STATE, self.reference):
                able = [name for name in known if name not in (STATE, self.reference)]
                raise UserError(f"--without {feature}: expected one of {', '.join(able)}")
        if self.depth not in DEPTH_TYPES or self.storage not in STORAGES:
            raise UserError(
                f"expected depth {' or '.join(DEPTH_TYPES)} and images {' or '.join(STORAGES)}, "
                f"got {self.depth} and {self.storage}"
            )
        for item in self.contract.observations:
            odd = item.width % GRAIN or item.height % GRAIN
            if item.feature in self.images and self.storage == "video" and odd:
                raise UserError(
                    f"{item.feature} has {item.width}x{item.height} px, and videos need even "
                    "numbers: keep images with --images png"
                )

    @property
    def reference(self) -> str:
        """The camera whose stamps are those of the rows."""
        cameras = [i for i in self.contract.observations if i.kind is FeatureKind.IMAGE]
        return cameras[0].feature

    @property
    def fps(self) -> int:
        """Rows per second: the reference camera's rate, which LeRobot wants whole."""
        return max(1, round(self.contract.observation(self.reference).rate_hz))

    @property
    def observations(self) -> tuple[str, ...]:
        """Those of the contract's features that are kept."""
        kept = [item.feature for item in self.contract.observations]
        return tuple(feature for feature in kept if feature not in self.without)

    @property
    def images(self) -> tuple[str, ...]:
        """The images among them."""
        return tuple(feature for feature in self.observations if feature.startswith(IMAGES))

    @property
    def videos(self) -> tuple[str, ...]:
        """The images that are kept as videos."""
        return self.images if self.storage == "video" else ()

    @property
    def depths(self) -> tuple[str, ...]:
        """The depth images among the features."""
        return tuple(feature for feature in self.observations if feature.startswith(DEPTHS))

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return the features as `info.json` has them."""
        joints = list(self.contract.action.joints)
        vector = {"dtype": "float32", "shape": [len(joints)], "names": joints}
        found = {feature: self._describe(feature) for feature in self.observations}
        found |= {COMMAND: dict(vector)} if COMMAND not in self.without else {}
        found |= {
            ACTION: dict(vector),
            ACTOR: _flag("int64"),
            INTERVENTION: _flag("bool"),
            DONE: _flag("bool"),
            SUCCESS: _flag("bool"),
            STAMP: _flag("int64"),
        }
        return found | {name: dict(value) for name, value in COUNTERS.items()}

    def _describe(self, feature: str) -> dict[str, Any]:
        item = self.contract.observation(feature)
        size = [item.height, item.width]
        if item.kind is FeatureKind.IMAGE:
            dtype = "video" if self.storage == "video" else "image"
            names = ["height", "width", "channels"]
            return {"dtype": dtype, "shape": [*size, 3], "names": names}
        if item.kind is FeatureKind.DEPTH:
            names = ["height", "width"]
            unit = "mm" if self.depth == "mm" else "m"
            dtype = DEPTH_TYPES[self.depth]
            return {"dtype": dtype, "shape": size, "names": names, "info": {"unit": unit}}
        if item.kind is FeatureKind.IMU:
            names = ["reading", "gyro_xyz_accel_xyz"]
            return {"dtype": "float32", "shape": [IMU_WINDOW, 6], "names": names}
        joints = list(self.contract.action.joints)
        return {"dtype": "float32", "shape": [len(joints)], "names": joints}

    def missing(self, frame: Frame) -> str:
        """Return the first feature that a frame lacks, or ''."""
        observation = frame.observation
        for feature in self.observations:
            kind, camera = self.contract.observation(feature).kind, feature.rpartition(".")[2]
            if (
                (kind is FeatureKind.IMAGE and camera not in observation.images)
                or (kind is FeatureKind.DEPTH and camera not in observation.depths)
                or (kind is FeatureKind.IMU and observation.imu is None)
            ):
                return feature
        if COMMAND not in self.without and observation.command is None:
            return COMMAND
        return ""

    def row(self, frame: Frame) -> Row:
        """Return the values of a frame, less its images and what depends on other frames."""
        observation = frame.observation
        row: Row = {
            STATE: observation.state,
            ACTION: frame.action.astype(np.float32),
            ACTOR: np.array([ACTORS.get(frame.actor, 0)], np.int64),
            STAMP: np.array([frame.stamp_ns], np.int64),
        }
        if COMMAND not in self.without and observation.command is not None:
            row[COMMAND] = observation.command
        if IMU in self.observations and observation.imu is not None:
            row[IMU] = observation.imu
        for feature in self.depths:
            metres = observation.depths[feature.removeprefix(DEPTHS)]
            row[feature] = to_millimetres(metres) if self.depth == "mm" else metres
        return row


def to_millimetres(metres: Float32Array) -> NDArray[np.uint16]:
    """Return depth in whole [mm]; holes and what is farther than 65.535 m are 0."""
    millimetres = np.rint(np.where(np.isfinite(metres), metres, 0.0) * np.float32(1000.0))
    known = (millimetres >= 0.0) & (millimetres <= np.iinfo(np.uint16).max)
    return np.where(known, millimetres, 0.0).astype(np.uint16)


def from_stored(feature: str, value: NDArray[Any], info: Mapping[str, Any]) -> NDArray[Any]:
    """Return a dataset's value as an observation has it: depth in [m]."""
    if feature.startswith(DEPTHS) and info.get("info", {}).get("unit") == "mm":
        return np.asarray(value, np.float32) * np.float32(0.001)
    return value


def _flag(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [1], "names": None}
