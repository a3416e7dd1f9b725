"""The policy node with the shipped bundle on ONNX Runtime."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from std_msgs.msg import String
from vla_ros_interfaces.srv import LoadPolicy

from vla_ros.core.resources import resource_path
from vla_ros.ros.qos import latched_qos
from vla_ros.ros.stamps import to_ns
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import NodeProcess
from vla_ros.testing.topic_robot import TopicRobot
from vla_ros.testing.waiting import wait_for

StartNode = Callable[..., NodeProcess]
CHUNKS = "/vla/policy/chunk"
SHIPPED = resource_path("models/tabletop-small")


@pytest.fixture
def corrupted(tmp_path: Path) -> Path:
    """Return a copy of the shipped bundle with one byte of the policy changed."""
    copy = tmp_path / "corrupted"
    shutil.copytree(SHIPPED, copy)
    graph = copy / "policy.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 0xFF
    graph.write_bytes(content)
    return copy


def test_a_corrupted_bundle_is_refused_by_hash_and_the_file_is_named(
    corrupted: Path, start_node: StartNode
) -> None:
    process = start_node("policy", bundle=str(corrupted))
    assert process.wait(30.0) == 78
    assert str(corrupted / "policy.onnx") in process.output
    assert "SHA-256" in process.output
    assert "Traceback" not in process.output


def test_the_policy_works_and_a_corrupted_bundle_does_not_replace_it(
    corrupted: Path, robot: TopicRobot, listener: Listener, start_node: StartNode
) -> None:
    start_node("policy", bundle=str(SHIPPED)).wait_active()
    publisher = robot.node.create_publisher(String, "/vla/instruction", latched_qos())
    robot.node.create_timer(0.1, lambda: publisher.publish(String(data="lift the red cube")))
    chunk = wait_for(lambda: (c := listener.last(CHUNKS)) and c.horizon and c, "a chunk")
    assert tuple(chunk.joint_names) == robot.contract.action.joints
    assert chunk.instruction == "lift the red cube"
    assert len(chunk.bundle) == 64
    refused = listener.call(
        LoadPolicy, "/vla/policy/load", LoadPolicy.Request(path=str(corrupted))
    )
    assert not refused.success
    assert "policy.onnx" in refused.message
    assert refused.bundle_sha256 == chunk.bundle
    count = len(listener.heard[CHUNKS])
    wait_for(lambda: len(listener.heard[CHUNKS]) > count + 5, "more chunks")
    answer = listener.call(LoadPolicy, "/vla/policy/load", LoadPolicy.Request(path=str(SHIPPED)))
    assert answer.success
    assert answer.bundle_sha256 == chunk.bundle
    count = len(listener.heard[CHUNKS])
    wait_for(lambda: len(listener.heard[CHUNKS]) > count + 5, "chunks of the new policy")


def test_the_running_policy_goes_on_while_another_one_is_loaded(
    robot: TopicRobot, listener: Listener, start_node: StartNode
) -> None:
    start_node("policy", bundle=str(SHIPPED)).wait_active()
    publisher = robot.node.create_publisher(String, "/vla/instruction", latched_qos())
    robot.node.create_timer(0.1, lambda: publisher.publish(String(data="lift the red cube")))
    wait_for(lambda: (c := listener.last(CHUNKS)) and c.horizon and c, "a chunk")
    begun = len(listener.heard[CHUNKS]) - 1
    assert listener.call(
        LoadPolicy, "/vla/policy/load", LoadPolicy.Request(path=str(SHIPPED))
    ).success
    count = len(listener.heard[CHUNKS])
    wait_for(lambda: len(listener.heard[CHUNKS]) > count + 5, "chunks of the new policy")
    frames = [to_ns(c.header.stamp) for c in listener.heard[CHUNKS][begun:] if c.horizon]
    assert max(after - before for before, after in pairwise(frames)) < 500_000_000


def test_a_bundle_for_another_robot_is_refused_unless_that_is_allowed(
    start_node: StartNode,
) -> None:
    refused = start_node("policy", bundle=str(SHIPPED), contract="so101")
    assert refused.wait(30.0) == 78
    difference = "observation.images.front size: made with 128x128 px, this robot has 640x480 px"
    assert difference in refused.output
    allowed = start_node("policy", bundle=str(SHIPPED), contract="so101", allow_differences=True)
    allowed.wait_active()
    assert f"allowed: {difference}" in allowed.output
