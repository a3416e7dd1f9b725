"""Joint states, readings of the IMU and commands to numbers in the contract's order.

The messages may be `rclpy`'s or those that `rosbags` reads from a file: both have the same
attributes, so that what is recorded and what is live becomes the same feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vla_ros.core.errors import ObservationError
from vla_ros.core.types import FloatArray


class OtherJoints(ObservationError):
    """A joint state of another device: it holds none of the joints that are wanted."""


class JointStateReader:
    """Puts the positions of `sensor_msgs/JointState` into the contract's joint order.

    Drivers publish joints in any order and may add joints of other devices. The permutation is
    worked out once per distinct list of names, since this runs at control rate.
    """

    def __init__(self, topic: str, joint_names: Sequence[str]) -> None:
        """Read the joints `joint_names` from `topic`."""
        self._topic = topic
        self._wanted = tuple(joint_names)
        self._seen: list[str] | None = None
        self._order: list[int] = []

    def read(self, message: Any) -> FloatArray:
        """Return the positions (n_joints,) in [rad].

        Raises:
            OtherJoints: if none of the joints is there.
            ObservationError: if a joint is missing, a position too, or one is not finite.
        """
        names = message.name
        if names != self._seen:
            self._order = self._find(list(names))
            self._seen = list(names)
        if len(message.position) != len(names):
            raise ObservationError(
                self._topic, f"{len(names)} joint names but {len(message.position)} positions"
            )
        positions = np.asarray(message.position, np.float64)[self._order]
        if not np.isfinite(positions).all():
            bad = [n for n, q in zip(self._wanted, positions, strict=True) if not np.isfinite(q)]
            raise ObservationError(self._topic, f"position of {', '.join(bad)} is not finite")
        return positions

    def _find(self, names: list[str]) -> list[int]:
        missing = [name for name in self._wanted if name not in names]
        if missing:
            kind = OtherJoints if len(missing) == len(self._wanted) else ObservationError
            raise kind(
                self._topic,
                f"no joint {', '.join(missing)}; the message has {', '.join(names) or 'none'}",
            )
        return [names.index(name) for name in self._wanted]


def read_imu(message: Any, *, topic: str) -> FloatArray:
    """Return gyro xyz [rad/s] and acceleration xyz [m/s^2], shape (6,).

    Raises:
        ObservationError: if a value is not finite, or the driver marks a half as absent (first
            covariance element -1).
    """
    if message.angular_velocity_covariance[0] < 0 or message.linear_acceleration_covariance[0] < 0:
        raise ObservationError(topic, "the driver marks gyro or accelerometer as absent")
    gyro, accel = message.angular_velocity, message.linear_acceleration
    reading = np.array([gyro.x, gyro.y, gyro.z, accel.x, accel.y, accel.z])
    if not np.isfinite(reading).all():
        raise ObservationError(topic, f"reading is not finite: {reading.tolist()}")
    return reading


class CommandReader:
    """Reads the targets of commands: of any of the three message types that drivers take."""

    def __init__(self, joint_names: Sequence[str]) -> None:
        """Expect the targets of `joint_names`, in this order."""
        self._names = list(joint_names)

    def read(self, message: Any) -> FloatArray:
        """Return the targets (n_joints,) [rad] in the contract's order, as a driver would.

        Raises:
            ObservationError: if the number or names of joints differ or a target is not finite.
        """
        names, values = _targets(message)
        if names is not None and names != self._names:
            raise ObservationError(
                "command", f"joints are {', '.join(names)}, expected {', '.join(self._names)}"
            )
        targets = np.asarray(values, np.float64)
        if targets.shape != (len(self._names),) or not np.isfinite(targets).all():
            raise ObservationError(
                "command", f"expected {len(self._names)} finite targets, got {list(values)}"
            )
        return targets


def _targets(message: Any) -> tuple[list[str] | None, Sequence[float]]:
    if hasattr(message, "points"):  # trajectory_msgs/JointTrajectory
        last = message.points[-1].positions if len(message.points) else ()
        return list(message.joint_names), last
    if hasattr(message, "position"):  # sensor_msgs/JointState
        return list(message.name), message.position
    return None, message.data  # std_msgs/Float64MultiArray
