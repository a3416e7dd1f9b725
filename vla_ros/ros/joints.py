"""Joint states, and commands in the three message types that drivers take."""

from __future__ import annotations

import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from vla_ros.core.errors import ContractError
from vla_ros.core.types import FloatArray
from vla_ros.observation.joint_messages import CommandReader, JointStateReader, OtherJoints
from vla_ros.ros.stamps import to_time

__all__ = [
    "COMMAND_TYPES",
    "CommandCodec",
    "JointStateReader",
    "OtherJoints",
    "write_joint_state",
]


def write_joint_state(
    stamp_ns: int, joint_names: Sequence[str], positions: FloatArray, velocities: FloatArray
) -> JointState:
    """Return the message of positions [rad] and velocities [rad/s], both (n_joints,)."""
    message = JointState(name=list(joint_names))
    message.header.stamp = to_time(stamp_ns)
    message.position = array.array("d", positions)
    message.velocity = array.array("d", velocities)
    # an empty float64[] at the end gets stray bytes behind it when serialized
    message.effort = array.array("d", np.zeros(len(positions)))
    return message


class CommandCodec:
    """One command topic's type: targets (n_joints,) [rad] to its message and back."""

    def __init__(self, type_name: str, joint_names: Sequence[str], period_s: float) -> None:
        """Choose the message type.

        Args:
            type_name: For example `std_msgs/msg/Float64MultiArray`.
            joint_names: The order of the targets.
            period_s: Time that a trajectory point is given to be reached [s].

        Raises:
            ContractError: if commands cannot be sent as `type_name`.
        """
        if type_name not in COMMAND_TYPES:
            raise ContractError(
                f"action.command.type: expected one of {', '.join(COMMAND_TYPES)}, "
                f"got '{type_name}'"
            )
        self.message_type, self._write = COMMAND_TYPES[type_name]
        self._names, self._reader = list(joint_names), CommandReader(joint_names)
        seconds, nanoseconds = divmod(round(period_s * 1e9), 1_000_000_000)
        self._period = Duration(sec=seconds, nanosec=nanoseconds)

    def write(self, targets: FloatArray, stamp_ns: int) -> Any:
        """Return the message of targets (n_joints,) [rad], due at `stamp_ns` in ROS time [ns]."""
        return self._write(self._names, targets, stamp_ns, self._period)

    def read(self, message: Any) -> FloatArray:
        """Return the targets (n_joints,) [rad] in the contract's order, as a driver would.

        Raises:
            ObservationError: if the number or names of joints differ or a target is not finite.
        """
        return self._reader.read(message)


def _write_multi_array(
    names: list[str], targets: FloatArray, stamp_ns: int, period: Duration
) -> Float64MultiArray:
    return Float64MultiArray(data=array.array("d", targets))


def _write_joint_state(
    names: list[str], targets: FloatArray, stamp_ns: int, period: Duration
) -> JointState:
    return write_joint_state(stamp_ns, names, targets, np.zeros(len(names)))


def _write_trajectory(
    names: list[str], targets: FloatArray, stamp_ns: int, period: Duration
) -> JointTrajectory:
    # a zero stamp means "starts now": the point is due one control period after it arrives
    point = JointTrajectoryPoint(positions=array.array("d", targets), time_from_start=period)
    return JointTrajectory(joint_names=names, points=[point])


CommandWriter = Callable[[list[str], FloatArray, int, Duration], Any]

COMMAND_TYPES: dict[str, tuple[type, CommandWriter]] = {
    "std_msgs/msg/Float64MultiArray": (Float64MultiArray, _write_multi_array),
    "trajectory_msgs/msg/JointTrajectory": (JointTrajectory, _write_trajectory),
    "sensor_msgs/msg/JointState": (JointState, _write_joint_state),
}
