"""Checks every command on its way to the robot against the limits, from outside the gate."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rclpy.node import Node

from vla_ros.contract import RobotContract
from vla_ros.core.errors import ObservationError
from vla_ros.core.types import FloatArray
from vla_ros.ros.joints import CommandCodec
from vla_ros.ros.qos import event_qos
from vla_ros.safety import Violation, make_checker

#: No joint is allowed to move this far in one control period [rad].
JUMP_RAD = 0.1


class CommandAudit:
    """Listens to the command topic with a queue that keeps everything.

    The middleware numbers what a publisher sends: differences are taken only between commands that
    follow one another, and what never arrived is counted.

    Attributes:
        commands: Commands checked.
        missed: Commands that did not arrive.
        violations: The limits that were broken.
    """

    def __init__(self, node: Node, contract: RobotContract) -> None:
        """Listen with `node`, which the caller spins."""
        self.commands = self.missed = 0
        self.violations: list[Violation] = []
        command = contract.action.command
        self._codec = CommandCodec(command.type, contract.action.joints, contract.control_period_s)
        self._checker = make_checker(contract)
        self._number: int | None = None
        self._last: FloatArray | None = None
        self._may_jump_until_s = 0.0
        node.create_subscription(
            self._codec.message_type, command.topic, self._on_command, event_qos(depth=1000)
        )

    def expect_new_beginning(self, within_s: float) -> None:
        """Say that the robot is being put elsewhere, as a simulator's reset does.

        The gate then begins anew where it finds the robot: one jump within this time [s] is no
        motion.
        """
        self._may_jump_until_s = time.monotonic() + within_s

    def _on_command(self, message: Any, info: dict[str, int]) -> None:
        number = info["publication_sequence_number"]
        gap = 0 if self._number is None else number - self._number - 1
        self._number = number
        self.missed += max(0, gap)
        self.commands += 1
        try:
            positions = self._codec.read(message)
        except ObservationError as error:
            self._checker.reset()
            self.violations.append(
                Violation(joint=str(error), quantity="finite", value=float("nan"), limit=0.0)
            )
            return
        jumps = self._last is not None and float(np.abs(positions - self._last).max()) > JUMP_RAD
        if jumps and time.monotonic() < self._may_jump_until_s:
            self._may_jump_until_s = 0.0
            self._checker.reset()
        elif gap != 0:
            self._checker.reset(at_rest=False)
        self._last = positions
        self.violations += self._checker.observe(positions)
