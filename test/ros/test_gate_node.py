from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger
from vla_ros_interfaces.msg import ActionChunk as ActionChunkMessage
from vla_ros_interfaces.msg import GateStatus

from vla_ros.core.types import ActionChunk
from vla_ros.ros.chunks import write_chunk
from vla_ros.ros.qos import command_qos
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import NodeProcess
from vla_ros.testing.topic_robot import TopicRobot
from vla_ros.testing.waiting import never, wait_for

StartNode = Callable[..., NodeProcess]
STATUS = "/vla/gate/status"
STATE = "/joint_states"


def status_is(listener: Listener, state: int, reason: str) -> Callable[[], bool]:
    def check() -> bool:
        last = listener.last(STATUS)
        return last is not None and last.state == state and reason in last.reason

    return check


class ChunkSource:
    """Publishes chunks as a policy would."""

    def __init__(self, robot: TopicRobot) -> None:
        self._robot = robot
        self._publisher = robot.node.create_publisher(
            ActionChunkMessage, "/vla/policy/chunk", command_qos()
        )

    def wait_heard(self) -> None:
        wait_for(lambda: self._publisher.get_subscription_count() >= 1, "the gate to listen")

    def send(self, pan_offset: float, **changes: Any) -> np.ndarray:
        """Send a chunk that moves the first joint by an offset [rad]; return its last row."""
        start = self._robot.positions
        rows = np.repeat(start[None], 12, axis=0)
        rows[:, 0] += np.linspace(0.0, pan_offset, 12)
        values: dict[str, Any] = {
            "stamp_ns": self._robot.now_ns(),
            "step_s": 0.05,
            "joint_names": self._robot.contract.action.joints,
            "positions": rows,
            "progress": 0.25,
            "instruction": "sway",
            **changes,
        }
        self._publisher.publish(write_chunk(ActionChunk(**values)))
        return np.asarray(rows[-1])


@pytest.fixture
def gate(robot: TopicRobot, listener: Listener, start_node: StartNode) -> NodeProcess:
    process = start_node("gate").wait_active()
    wait_for(status_is(listener, GateStatus.HOLD, "no chunk has come"), "the gate to hold")
    return process


@pytest.fixture
def chunks(robot: TopicRobot, gate: NodeProcess) -> ChunkSource:
    source = ChunkSource(robot)
    source.wait_heard()
    return source


def test_without_a_chunk_the_arm_is_held_where_it_is(robot: TopicRobot, gate: NodeProcess) -> None:
    wait_for(lambda: len(robot.commands) > 50, "commands")
    np.testing.assert_allclose(robot.commands[-1], robot.contract.home, atol=1e-6)


def test_commands_come_at_the_control_rate(
    robot: TopicRobot, listener: Listener, gate: NodeProcess
) -> None:
    first = listener.last(STATUS)
    began = first.ticks, first.header.stamp
    wait_for(lambda: listener.last(STATUS).ticks > began[0] + 150, "150 ticks")
    last = listener.last(STATUS)
    span_s = (last.header.stamp.sec - began[1].sec) + 1e-9 * (
        last.header.stamp.nanosec - began[1].nanosec
    )
    assert (last.ticks - began[0]) / span_s == pytest.approx(100.0, rel=0.05)


def test_a_chunk_is_executed_to_its_end_and_then_held(
    robot: TopicRobot, listener: Listener, chunks: ChunkSource
) -> None:
    end = chunks.send(0.2)
    wait_for(status_is(listener, GateStatus.EXECUTING, ""), "execution")
    status = listener.last(STATUS)
    assert (status.instruction, status.progress) == ("sway", 0.25)
    wait_for(status_is(listener, GateStatus.HOLD, "the chunk ran out"), "the end of the chunk")
    np.testing.assert_allclose(robot.commands[-1], end, atol=0.03)


def test_a_policy_that_becomes_idle_stops_the_arm_at_once(
    robot: TopicRobot, listener: Listener, chunks: ChunkSource
) -> None:
    chunks.send(0.2)
    wait_for(status_is(listener, GateStatus.EXECUTING, ""), "execution")
    chunks._publisher.publish(ActionChunkMessage())
    wait_for(status_is(listener, GateStatus.HOLD, "the policy is idle"), "the gate to hold")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"positions": np.full((12, 6), np.nan)}, "row 0 is not finite"),
        ({"joint_names": ("a", "b", "c", "d", "e", "f")}, "joints: expected shoulder_pan"),
        ({"stamp_ns": 1_000_000_000}, "the chunk is stale"),
        ({"step_s": 0.0}, "step_s: expected a time above 0"),
    ],
)
def test_a_bad_chunk_is_rejected_and_the_status_says_why(
    robot: TopicRobot,
    listener: Listener,
    chunks: ChunkSource,
    changes: dict[str, Any],
    reason: str,
) -> None:
    chunks.send(0.1, **changes)
    wait_for(status_is(listener, GateStatus.HOLD, reason), "the rejection")
    wait_for(lambda: listener.last(STATUS).rejected_chunks == 1, "the count")
    np.testing.assert_allclose(robot.commands[-1], robot.contract.home, atol=1e-6)


def test_silent_joint_states_hold_the_arm_and_are_named(
    robot: TopicRobot, listener: Listener, chunks: ChunkSource
) -> None:
    chunks.send(0.2)
    wait_for(status_is(listener, GateStatus.EXECUTING, ""), "execution")
    robot.silent.add(STATE)
    wait_for(status_is(listener, GateStatus.HOLD, "the joint state is"), "the gate to hold")
    robot.silent.clear()
    wait_for(status_is(listener, GateStatus.HOLD, "the chunk"), "the joint states to be back")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda m: m.position.__setitem__(2, float("nan")), "elbow_flex is not finite"),
        (lambda m: setattr(m, "name", ["a", "b", "c", "d", "e", "f"]), "no joint shoulder_pan"),
        (lambda m: m.position.pop(), "6 joint names but 5 positions"),
        (lambda m: setattr(m.header, "stamp", Time()), "the stamp is 0"),
    ],
)
def test_bad_joint_states_hold_the_arm_and_are_named(
    robot: TopicRobot,
    listener: Listener,
    gate: NodeProcess,
    spoil: Callable[[Any], None],
    reason: str,
) -> None:
    robot.spoil[STATE] = spoil
    held = status_is(listener, GateStatus.HOLD, f"{STATE}: ")
    wait_for(lambda: held() and reason in listener.last(STATUS).reason, "the reason")
    name = f"gate: {STATE}"
    wait_for(
        lambda: (s := listener.finding(name)) is not None and reason in s.message, "diagnostics"
    )


def test_the_emergency_stop_is_latched_until_the_reset(
    robot: TopicRobot, listener: Listener, chunks: ChunkSource
) -> None:
    chunks.send(0.2)
    wait_for(status_is(listener, GateStatus.EXECUTING, ""), "execution")
    assert listener.call(SetBool, "/vla/gate/estop", SetBool.Request(data=True)).success
    wait_for(status_is(listener, GateStatus.ESTOP, "emergency stop"), "the emergency stop")
    refused = listener.call(Trigger, "/vla/gate/reset", Trigger.Request())
    assert not refused.success
    assert "release the emergency stop" in refused.message
    listener.call(SetBool, "/vla/gate/estop", SetBool.Request(data=False))
    chunks.send(0.2)
    never(status_is(listener, GateStatus.EXECUTING, ""), "it moved without a reset", 0.3)
    assert listener.call(Trigger, "/vla/gate/reset", Trigger.Request()).success
    wait_for(status_is(listener, GateStatus.HOLD, "no chunk since the reset"), "the reset")
    chunks.send(0.1)
    wait_for(status_is(listener, GateStatus.EXECUTING, ""), "execution after the reset")


def test_the_emergency_stop_topic_works_too(
    robot: TopicRobot, listener: Listener, gate: NodeProcess
) -> None:
    publisher = robot.node.create_publisher(Bool, "/vla/estop", command_qos())
    wait_for(lambda: publisher.get_subscription_count() == 1, "the gate to listen")
    publisher.publish(Bool(data=True))
    wait_for(status_is(listener, GateStatus.ESTOP, "emergency stop"), "the emergency stop")


def test_a_reset_without_joint_states_says_so(
    robot: TopicRobot, listener: Listener, gate: NodeProcess
) -> None:
    robot.silent.add(STATE)
    wait_for(status_is(listener, GateStatus.HOLD, "the joint state is"), "the gate to notice")
    answer = listener.call(Trigger, "/vla/gate/reset", Trigger.Request())
    assert (answer.success, answer.message) == (False, "no current joint state")


def test_a_robot_that_was_away_and_moved_is_not_pulled_back(
    robot: TopicRobot, listener: Listener, gate: NodeProcess
) -> None:
    robot.silent.add(STATE)
    wait_for(status_is(listener, GateStatus.HOLD, "the joint state is"), "the gate to notice")
    robot.node.destroy_subscription(next(iter(robot.node.subscriptions)))  # its drivers are off
    moved = robot.positions.copy()
    moved[0] += 0.5
    robot.positions = moved
    since = listener.last(STATUS).ticks
    wait_for(lambda: listener.last(STATUS).ticks > since + 40, "the absence to last")
    robot.silent.clear()
    wait_for(
        lambda: np.allclose(listener.last(STATUS).command, moved, atol=1e-6),
        "the gate to begin anew",
    )


def test_the_gate_brakes_before_it_ends(
    robot: TopicRobot, gate: NodeProcess, chunks: ChunkSource, listener: Listener
) -> None:
    chunks.send(0.4)
    wait_for(status_is(listener, GateStatus.EXECUTING, ""), "execution")
    wait_for(lambda: abs(robot.commands[-1][0] - robot.contract.home[0]) > 0.03, "motion")
    assert gate.end() == 0
    last = np.array(robot.commands[-3:])
    np.testing.assert_allclose(last[1:], last[:-1], atol=1e-6)


def test_an_unknown_contract_ends_the_node_with_one_message(start_node: StartNode) -> None:
    process = start_node("gate", contract="no_such_robot")
    assert process.wait() == 78
    assert "there is no robot 'no_such_robot'; shipped are so101, tabletop_sim" in process.output
    assert "Traceback" not in process.output
