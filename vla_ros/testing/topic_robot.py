"""A robot made of topics: what a contract's drivers show, with faults on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image, Imu, JointState

from vla_ros.contract import IMU, STATE, FeatureKind, RobotContract
from vla_ros.core.types import FloatArray
from vla_ros.ros.images import write_image
from vla_ros.ros.imu import write_imu
from vla_ros.ros.joints import CommandCodec, write_joint_state
from vla_ros.ros.qos import command_qos, sensor_qos

#: How far a simulated joint moves towards its command per message, as a stiff servo does.
FOLLOWED = 0.7


class TopicRobot:
    """Publishes a contract's sensors at their rates and follows its commands.

    Attributes:
        positions: Where the joints are (n_joints,) [rad].
        silent: Topics that are not published.
        spoil: Topic to a function that changes each message before it is sent.
        commands: Every command that came, with the monotonic time it came at [ns].
    """

    def __init__(self, node: Node, contract: RobotContract) -> None:
        """Publish with `node`, which something else spins."""
        self.node = node
        self.contract = contract
        self.positions: FloatArray = np.array(contract.home)
        self.silent: set[str] = set()
        self.spoil: dict[str, Callable[[Any], None]] = {}
        self.commands: list[FloatArray] = []
        action = contract.action
        self._codec = CommandCodec(action.command.type, action.joints, contract.control_period_s)
        self._images = {
            spec.topic: (spec, node.create_publisher(Image, spec.topic, sensor_qos()))
            for spec in reversed(contract.observations)
            if spec.camera
        }
        state, imu = contract.observation(STATE), contract.observation(IMU)
        self._state_topic, self._imu_topic = state.topic, imu.topic
        self._states = node.create_publisher(JointState, state.topic, sensor_qos())
        self._imu = node.create_publisher(Imu, imu.topic, sensor_qos(depth=20))
        node.create_subscription(
            self._codec.message_type, action.command.topic, self._on_command, command_qos()
        )
        camera = next(spec for spec in contract.observations if spec.camera)
        node.create_timer(1.0 / state.rate_hz, self._publish_state)
        node.create_timer(1.0 / camera.rate_hz, self._publish_frames)

    def now_ns(self) -> int:
        """Return the ROS time of the stamps [ns]."""
        return int(self.node.get_clock().now().nanoseconds)

    def _on_command(self, message: Any) -> None:
        command = self._codec.read(message)
        self.commands.append(command)
        self.positions = self.positions + FOLLOWED * (command - self.positions)

    def _send(self, topic: str, publisher: Any, message: Any) -> None:
        if topic in self.silent:
            return
        if topic in self.spoil:
            self.spoil[topic](message)
        publisher.publish(message)

    def _publish_state(self) -> None:
        stamp_ns, joints = self.now_ns(), self.contract.action.joints
        message = write_joint_state(stamp_ns, joints, self.positions, np.zeros(len(joints)))
        self._send(self._state_topic, self._states, message)
        still = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 9.81])
        reading = write_imu(still, stamp_ns=stamp_ns, frame_id="imu_link")
        self._send(self._imu_topic, self._imu, reading)

    def _publish_frames(self) -> None:
        stamp_ns = self.now_ns()
        for topic, (spec, publisher) in self._images.items():
            if spec.kind is FeatureKind.DEPTH:
                pixels: Any = np.full((spec.height, spec.width), 0.5, np.float32)
            else:
                pixels = np.full((spec.height, spec.width, 3), 90, np.uint8)
            message = write_image(
                pixels, encoding=spec.encoding, stamp_ns=stamp_ns, frame_id=spec.frame
            )
            self._send(topic, publisher, message)
