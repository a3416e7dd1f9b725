"""Joint states to feature order, and commands to the three message types that drivers take."""

from __future__ import annotations

import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from vla_ros.core.errors import ContractError, ObservationError
from vla_ros.core.types import FloatArray
from vla_ros.ros.stamps import to_time


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

    def read(self, message: JointState) -> FloatArray:
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
        self._names = list(joint_names)
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
    if isinstance(message, Float64MultiArray):
        return None, message.data
    if isinstance(message, JointState):
        return list(message.name), message.position
    if not message.points:
        return list(message.joint_names), ()
    return list(message.joint_names), message.points[-1].positions


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
