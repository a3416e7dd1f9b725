"""Tells the policy what to do, and leaves a pause between two goals that it cannot miss."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.node import Node
from std_msgs.msg import String

from vla_ros.ros.qos import latched_qos

#: Between two goals nothing is to be done for at least this long [s]. The topic keeps only the
#: newest message: a policy that missed the pause would take the same words again for the goal
#: that it has already finished.
PAUSE_S = 0.1


class InstructionSender:
    """Publishes `instruction`."""

    def __init__(
        self,
        node: Node,
        now_ns: Callable[[], int] = time.monotonic_ns,
        topic: str = "instruction",
    ) -> None:
        """Publish on `topic` with `node`; `now_ns` is a clock that never jumps [ns]."""
        self._publisher = node.create_publisher(String, topic, latched_qos())
        self._now_ns = now_ns
        self._cleared_ns: int | None = None

    def clear(self) -> None:
        """There is nothing to do."""
        self._publisher.publish(String(data=""))
        self._cleared_ns = self._now_ns()

    def send(self, text: str) -> None:
        """Do `text`; called again and again. Too soon after the end of another it waits."""
        cleared_ns = self._cleared_ns
        if cleared_ns is None or self._now_ns() - cleared_ns >= PAUSE_S * 1e9:
            self._publisher.publish(String(data=text))
