"""Remembers what the robot was commanded, for policies that plan on from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node

from vla_ros.contract import RobotContract
from vla_ros.observation.command_history import IN_FORCE_NS, CommandHistory
from vla_ros.ros.joints import CommandCodec
from vla_ros.ros.qos import command_qos

__all__ = ["IN_FORCE_NS", "CommandMemory"]


class CommandMemory:
    """Listens to the command topic, whoever publishes there.

    Attributes:
        history: What it heard.
    """

    def __init__(self, node: Node, contract: RobotContract, now_ns: Callable[[], int]) -> None:
        """Listen with `node`; `now_ns` is the clock that observations are stamped with."""
        self._now_ns = now_ns
        command = contract.action.command
        codec = CommandCodec(command.type, contract.action.joints, contract.control_period_s)
        self.history = CommandHistory(contract.action.joints)
        node.create_subscription(
            codec.message_type, command.topic, self._on_command, command_qos()
        )

    def at(self, stamp_ns: int) -> NDArray[np.float32] | None:
        """Return the command in force at a time [ns], (n_joints,) [rad]; None without one."""
        return self.history.at(stamp_ns)

    def _on_command(self, message: Any) -> None:
        self.history.add(message, self._now_ns())
