"""The policy node with adaptive inference: fewer inferences, and chunks at the same rate."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from std_msgs.msg import String

from vla_ros.ros.qos import latched_qos
from vla_ros.ros.stamps import to_ns
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import NodeProcess
from vla_ros.testing.topic_robot import TopicRobot
from vla_ros.testing.waiting import wait_for

CHUNKS = "/vla/policy/chunk"


def test_some_chunks_of_a_still_scene_take_no_inference_and_none_is_missed(
    robot: TopicRobot, listener: Listener, start_node: Callable[..., NodeProcess]
) -> None:
    start_node("policy", backend="swaying", bundle="", adaptive=True).wait_active()
    publisher = robot.node.create_publisher(String, "/vla/instruction", latched_qos())
    robot.node.create_timer(0.1, lambda: publisher.publish(String(data="wave forever")))
    wait_for(lambda: len(listener.heard[CHUNKS]) > 60, "60 chunks")

    def saved() -> bool:
        status = listener.finding("policy: inference")
        values = {item.key: item.value for item in status.values} if status else {}
        return float(values.get("inferences_saved", 0)) > 0.15

    wait_for(saved, "the diagnostics to count")
    chunks = [chunk for chunk in listener.heard[CHUNKS] if chunk.horizon]
    assert {chunk.horizon for chunk in chunks} > {12}, "some were gone on with"
    ends = [to_ns(c.header.stamp) + round(c.horizon * c.step_s * 1e9) for c in chunks]
    assert all(later >= sooner - 50_000_000 for sooner, later in itertools.pairwise(ends))
