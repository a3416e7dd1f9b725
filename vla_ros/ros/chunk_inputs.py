"""The chunks that the gate gets: the policy's, and an operator's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rclpy.node import Node
from vla_ros_interfaces.msg import ActionChunk as ActionChunkMessage

from vla_ros.core.errors import ChunkRejected
from vla_ros.core.types import ActionChunk
from vla_ros.ros.chunks import read_chunk
from vla_ros.ros.gate_driver import GateDriver
from vla_ros.ros.qos import command_qos, event_qos
from vla_ros.ros.robot_time import RobotTime


class ChunkInputs:
    """Subscribes to `policy/chunk` and `teleop/command`, and hands on what comes."""

    def __init__(self, node: Node, time: RobotTime, driver: Callable[[], GateDriver]) -> None:
        """Subscribe with `node`; `driver` returns the one that is driven now."""
        self._time = time
        self._driver = driver
        node.create_subscription(
            ActionChunkMessage, "policy/chunk", self._on_policy, command_qos()
        )
        # that the operator lets go must not be lost, however soon the next chunk follows
        node.create_subscription(
            ActionChunkMessage, "teleop/command", self._on_operator, event_qos()
        )

    def _on_policy(self, message: ActionChunkMessage) -> None:
        driver = self._driver()
        if message.horizon == 0:
            driver.idle()
            return
        try:
            driver.offer(self._read(message))
        except ChunkRejected as error:
            driver.chunk_fault = error.reason

    def _on_operator(self, message: ActionChunkMessage) -> None:
        driver = self._driver()
        if message.horizon == 0:
            driver.operate(None)
            return
        try:
            driver.operate(self._read(message))
        except ChunkRejected as error:
            driver.operator_fault = error.reason

    def _read(self, message: ActionChunkMessage) -> ActionChunk:
        chunk = read_chunk(message)
        return replace(chunk, stamp_ns=self._time.from_stamp(chunk.stamp_ns))
