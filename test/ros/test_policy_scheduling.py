"""The policy node with a scheduling of its own: when it infers, and what it says of that."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from std_msgs.msg import String
from vla_ros_interfaces.msg import Acting

from vla_ros.ros.qos import latched_qos
from vla_ros.ros.stamps import to_ns
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import NodeProcess
from vla_ros.testing.topic_robot import TopicRobot
from vla_ros.testing.waiting import never, wait_for

CHUNKS = "/vla/policy/chunk"
StartNode = Callable[..., NodeProcess]


def instruct(robot: TopicRobot) -> None:
    publisher = robot.node.create_publisher(String, "/vla/instruction", latched_qos())
    robot.node.create_timer(0.1, lambda: publisher.publish(String(data="wave forever")))


def told(listener: Listener) -> dict[str, str]:
    status = listener.finding("policy: inference")
    return {item.key: item.value for item in status.values} if status else {}


def test_a_synchronous_policy_infers_when_its_chunk_has_been_executed(
    robot: TopicRobot, listener: Listener, start_node: StartNode
) -> None:
    start_node("policy", backend="swaying", bundle="", scheduling="synchronous").wait_active()
    instruct(robot)

    def chunks() -> list[object]:
        return [chunk for chunk in listener.heard[CHUNKS] if chunk.horizon]

    wait_for(lambda: len(chunks()) >= 3, "three chunks")
    lasts_ns = 12 * 50_000_000
    stamps = [to_ns(chunk.header.stamp) for chunk in listener.heard[CHUNKS] if chunk.horizon]
    assert all(later - sooner >= lasts_ns for sooner, later in itertools.pairwise(stamps))
    wait_for(lambda: told(listener).get("scheduling") == "synchronous", "the diagnostics")


def test_while_an_operator_acts_each_chunk_of_the_policy_begins_anew(
    robot: TopicRobot, listener: Listener, start_node: StartNode
) -> None:
    acting = robot.node.create_publisher(Acting, "/vla/gate/acting", latched_qos())
    acting.publish(Acting(actor="operator"))
    start_node("policy", backend="swaying", bundle="", scheduling="synchronous").wait_active()
    instruct(robot)

    def stamps() -> list[int]:
        return [to_ns(chunk.header.stamp) for chunk in listener.heard[CHUNKS] if chunk.horizon]

    wait_for(lambda: len(stamps()) >= 4, "chunks")
    apart = [later - sooner for sooner, later in itertools.pairwise(stamps())]
    assert min(apart) < 300_000_000, "it waited for chunks that nobody executed"
    acting.publish(Acting(actor="policy"))
    wait_for(
        lambda: len(stamps()) > 5 and stamps()[-1] - stamps()[-2] >= 600_000_000,
        "the policy to wait for its chunks again",
    )


def test_chunks_that_miss_their_deadline_do_not_reach_the_gate_and_are_counted(
    robot: TopicRobot, listener: Listener, start_node: StartNode
) -> None:
    start_node("policy", backend="swaying", bundle="", deadline_s=1e-6).wait_active()
    instruct(robot)
    wait_for(lambda: int(told(listener).get("missed_deadlines", 0)) > 5, "the misses")
    assert float(told(listener)["expected_delay_ms"]) > 0
    never(lambda: any(chunk.horizon for chunk in listener.heard[CHUNKS]), "a chunk with rows", 0.3)


def test_real_time_chunking_with_a_policy_that_cannot_go_on_ends_the_node_with_one_message(
    start_node: StartNode,
) -> None:
    process = start_node("policy", backend="swaying", bundle="", scheduling="real_time")
    assert process.wait() == 78
    assert "scheduling real_time needs a policy that goes on from a begun chunk" in process.output
    assert "Traceback" not in process.output
