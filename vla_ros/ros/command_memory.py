"""Remembers what the robot was commanded, for policies that plan on from there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node

from vla_ros.contract import RobotContract
from vla_ros.core.errors import ObservationError
from vla_ros.ros.joints import CommandCodec
from vla_ros.ros.qos import command_qos
from vla_ros.ros.stamps import to_ns

Float32Array = NDArray[np.float32]

#: Commands that are kept, and for how long one counts as being in force [ns].
KEPT, IN_FORCE_NS = 64, 500_000_000


class CommandMemory:
    """Listens to the command topic, whoever publishes there.

    A command is in force from the time that it is stamped with, or from its arrival where its type
    has no stamp, the stamp is 0, or it is of another clock.
    """

    def __init__(self, node: Node, contract: RobotContract, now_ns: Callable[[], int]) -> None:
        """Listen with `node`; `now_ns` is the clock that observations are stamped with."""
        self._now_ns = now_ns
        self._received: deque[tuple[int, Float32Array]] = deque(maxlen=KEPT)
        command = contract.action.command
        self._codec = CommandCodec(command.type, contract.action.joints, contract.control_period_s)
        node.create_subscription(
            self._codec.message_type, command.topic, self._on_command, command_qos()
        )

    def at(self, stamp_ns: int) -> Float32Array | None:
        """Return the command in force at a time [ns], (n_joints,) [rad]; None without one."""
        past = [each for each in tuple(self._received) if each[0] <= stamp_ns]
        if not past:
            return None
        since_ns, command = max(reversed(past), key=lambda each: each[0])
        return command if stamp_ns - since_ns <= IN_FORCE_NS else None

    def _on_command(self, message: Any) -> None:
        try:
            command = self._codec.read(message).astype(np.float32)
        except ObservationError:  # somebody else publishes nonsense there; the driver will say so
            return
        if np.isfinite(command).all():
            self._received.append((self._since_ns(message), command))

    def _since_ns(self, message: Any) -> int:
        now_ns = self._now_ns()
        header = getattr(message, "header", None)
        stamp_ns = to_ns(header.stamp) if header is not None else 0
        return stamp_ns if stamp_ns > 0 and abs(now_ns - stamp_ns) <= IN_FORCE_NS else now_ns
