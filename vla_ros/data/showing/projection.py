"""Where points of the robot appear in a camera's image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_ros.contract import RobotContract
from vla_ros.contract.robot_model import load_robot
from vla_ros.core.errors import UserError
from vla_ros.core.kinematics import Chain
from vla_ros.core.types import FloatArray
from vla_ros.data.episode_index import full_name
from vla_ros.data.frames import RecordedEpisode

#: Nearer than this to the camera's plane nothing is drawn [m].
NEAREST_M = 0.01
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraModel:
    """A pinhole camera that hangs on the robot, or stands beside it.

    Lens distortion is left out: it moves a line by a few pixels.

    Attributes:
        intrinsics: Matrix K of the images as the contract has them, (3, 3) [px].
        chain: From the base link to the camera's optical frame.
        joints: Places of the chain's joints in the contract's order.
    """

    intrinsics: FloatArray
    chain: Chain
    joints: tuple[int, ...]

    def project(self, points: FloatArray, positions: FloatArray) -> NDArray[np.float64]:
        """Return where points appear [px], (n, 2), in x and y; NaN behind the camera.

        Args:
            points: In the base link's frame [m], (n, 3).
            positions: Of the contract's joints when the image was taken [rad], (n_joints,).
        """
        pose = self.chain.forward(np.asarray(positions, np.float64)[list(self.joints)])
        seen = (np.asarray(points) - pose[:3, 3]) @ pose[:3, :3]
        pixels = seen @ self.intrinsics.T
        with np.errstate(divide="ignore", invalid="ignore"):
            found = pixels[:, :2] / pixels[:, 2:]
        found[~(seen[:, 2] > NEAREST_M)] = np.nan
        return np.asarray(found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hand:
    """Where the tool centre point is.

    Attributes:
        chain: From the base link to it.
        joints: Places of the chain's joints in the contract's order.
    """

    chain: Chain
    joints: tuple[int, ...]

    def path(self, positions: FloatArray) -> FloatArray:
        """Return it in the base link's frame [m], (n, 3), for positions [rad], (n, n_joints)."""
        return self.chain.tip_positions(np.asarray(positions, np.float64)[:, list(self.joints)])


def find_hand(contract: RobotContract) -> Hand | None:
    """Return the hand of a robot; None if its URDF, or the chain to its tip, is not at hand."""
    try:
        chain = contract.chain()
        return Hand(chain=chain, joints=_places(chain, contract))
    except (UserError, ValueError):
        return None


def find_camera(episode: RecordedEpisode, camera: str) -> CameraModel | None:
    """Return the model of a camera; None if its pose or its intrinsics are not known.

    The pose is that of the contract's frame in the URDF, the intrinsics those of `camera_info`
    beside the image's topic, scaled to the size that the contract has.
    """
    contract = episode.contract
    spec = next(item for item in contract.observations if item.camera == camera)
    topic = f"{full_name(spec.topic).rpartition('/')[0]}/camera_info"
    info = next((m for _, _, m in episode.messages([topic])), None)
    if info is None or not info.width or not np.any(info.k):
        return None
    try:
        robot = load_robot(contract.robot.urdf)
        chain = Chain.between(robot, contract.robot.base_link, spec.frame)
        places = _places(chain, contract)
    except (UserError, ValueError):
        return None
    scale = np.diag([spec.width / info.width, spec.height / info.height, 1.0])
    intrinsics = scale @ np.asarray(info.k, np.float64).reshape(3, 3)
    return CameraModel(intrinsics=intrinsics, chain=chain, joints=places)


def _places(chain: Chain, contract: RobotContract) -> tuple[int, ...]:
    """Return where the chain's joints are among the contract's; ValueError if one is not."""
    return tuple(contract.action.joints.index(name) for name in chain.names)
