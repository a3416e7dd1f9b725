"""What a policy looks at, on topics that cost nothing until somebody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import String

from vla_ros.contract import load_contract
from vla_ros.core.types import Observation, UInt8Array
from vla_ros.ros.attention_publisher import AttentionPublisher
from vla_ros.ros.images import read_rgb
from vla_ros.ros.qos import command_qos, latched_qos, sensor_qos
from vla_ros.ros.stamps import to_ns
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import NodeProcess
from vla_ros.testing.observations import make_observation
from vla_ros.testing.swaying_policy import SwayingPolicy
from vla_ros.testing.topic_robot import TopicRobot
from vla_ros.testing.waiting import wait_for

CONTRACT = load_contract("tabletop_sim")
FRONT = "/vla/policy/attention/front"


class Watchful(SwayingPolicy):
    """Draws a grey picture of its own, and remembers for which cameras."""

    def __init__(self) -> None:
        super().__init__(CONTRACT)
        self.drawn: list[str] = []

    def draw_attention(self, observation: Observation, camera: str) -> UInt8Array | None:
        self.drawn.append(camera)
        return np.full((4, 6, 3), 77, np.uint8)


class Broken(Watchful):
    def draw_attention(self, observation: Observation, camera: str) -> UInt8Array | None:
        super().draw_attention(observation, camera)
        raise ValueError("no picture")


@pytest.fixture
def node() -> Iterator[Node]:
    made = rclpy.create_node("policy", namespace="/vla")
    yield made
    made.destroy_node()


@pytest.fixture
def publisher(executor: SingleThreadedExecutor, node: Node) -> AttentionPublisher:
    return AttentionPublisher(node, CONTRACT)


def watch(listener: Listener, node: Node, qos: QoSProfile) -> None:
    listener.listen(Image, FRONT, qos)
    wait_for(lambda: node.count_subscribers(FRONT), "the subscription")


def test_nothing_is_drawn_while_nobody_watches(publisher: AttentionPublisher) -> None:
    policy = Watchful()
    publisher.publish(policy, make_observation(CONTRACT))
    assert policy.drawn == []


@pytest.mark.parametrize("qos", [command_qos(), sensor_qos()], ids=["reliable", "best effort"])
def test_only_the_camera_that_is_watched_is_drawn_with_stamp_and_frame_of_its_image(
    publisher: AttentionPublisher, node: Node, listener: Listener, qos: QoSProfile
) -> None:
    policy = Watchful()
    watch(listener, node, qos)

    def shown() -> Image:
        publisher.publish(policy, make_observation(CONTRACT, stamp_ns=5_000_000_001))
        return listener.last(FRONT)

    message = wait_for(shown, "a picture")
    assert set(policy.drawn) == {"front"}
    assert to_ns(message.header.stamp) == 5_000_000_001
    assert message.header.frame_id == CONTRACT.observation("observation.images.front").frame
    pixels = read_rgb(message, topic=FRONT, encoding="rgb8", width=6, height=4)
    assert (pixels == 77).all()


def test_a_policy_that_cannot_draw_is_asked_once_and_its_error_goes_no_further(
    publisher: AttentionPublisher, node: Node, listener: Listener
) -> None:
    policy = Broken()
    watch(listener, node, command_qos())
    for _ in range(3):
        publisher.publish(policy, make_observation(CONTRACT))
    assert policy.drawn == ["front"]
    another = Watchful()
    publisher.publish(another, make_observation(CONTRACT))
    assert another.drawn == ["front"]


def test_the_policy_node_shows_what_it_looks_at_while_it_works(
    robot: TopicRobot, listener: Listener, start_node: Callable[..., NodeProcess]
) -> None:
    start_node("policy", backend="swaying", bundle="").wait_active()
    publisher = robot.node.create_publisher(String, "/vla/instruction", latched_qos())
    robot.node.create_timer(0.1, lambda: publisher.publish(String(data="sway forever")))
    for camera in ("front", "wrist"):
        listener.listen(Image, f"/vla/policy/attention/{camera}", sensor_qos())
    wait_for(lambda: len(listener.heard[FRONT]) > 5, "pictures of the front camera")
    wait_for(lambda: listener.heard["/vla/policy/attention/wrist"], "pictures of the wrist camera")
    message = listener.last(FRONT)
    assert (message.encoding, message.width, message.height) == ("rgb8", 128, 128)
    chunks = listener.heard["/vla/policy/chunk"]
    stamps = {to_ns(chunk.header.stamp) for chunk in chunks}
    assert to_ns(message.header.stamp) in stamps
