from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import SetBool, Trigger
from vla_ros_interfaces.msg import ActionChunk as ActionChunkMessage
from vla_ros_interfaces.msg import GateStatus

from vla_ros.bringup.supervisor import PATIENCE_S
from vla_ros.contract import find_contract
from vla_ros.core.types import ActionChunk
from vla_ros.nodes.gate import LONGEST_BRAKE_S, GateParameters
from vla_ros.ros.chunks import write_chunk
from vla_ros.ros.qos import command_qos, event_qos, sensor_qos
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import NodeProcess
from vla_ros.testing.topic_robot import TopicRobot
from vla_ros.testing.waiting import never, wait_for

StartNode = Callable[..., NodeProcess]
STATUS = "/vla/gate/status"
STATE = "/joint_states"
COMMANDS = "/forward_position_controller/commands"


def status_is(listener: Listener, state: int, reason: str) -> Callable[[], bool]:
    def check() -> bool:
        last = listener.last(STATUS)
        return last is not None and last.state == state and reason in last.reason

    return check


def complaint(listener: Listener, thing: str, text: str) -> None:
    """Wait for a diagnostic status of the gate that is no good and says `text`."""

    def said() -> bool:
        status = listener.finding(f"gate: {thing}")
        return (
            status is not None and status.level != DiagnosticStatus.OK and text in status.message
        )

    wait_for(said, f"'{thing}: {text}' in the diagnostics")


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
            "grounding": 0.75,
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
    assert (status.instruction, status.progress, status.grounding) == ("sway", 0.25, 0.75)
    wait_for(status_is(listener, GateStatus.HOLD, "the chunk ran out"), "the end of the chunk")
    assert listener.last(STATUS).grounding == 1.0
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
        ({"step_s": 0.0}, "step_s: expected 0.001 s or more, got 0"),
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


def test_a_reset_during_motion_is_answered_when_the_arm_stands_still(
    robot: TopicRobot, listener: Listener, chunks: ChunkSource
) -> None:
    chunks.send(0.4)
    wait_for(status_is(listener, GateStatus.EXECUTING, ""), "execution")
    wait_for(
        lambda: (
            bool(robot.commands) and abs(robot.commands[-1][0] - robot.contract.home[0]) > 0.03
        ),
        "motion",
    )
    assert listener.call(Trigger, "/vla/gate/reset", Trigger.Request()).success
    count = len(robot.commands)
    wait_for(lambda: len(robot.commands) > count + 3, "commands after the reset")
    np.testing.assert_allclose(robot.commands[-1], robot.commands[count + 1], atol=1e-6)
    wait_for(status_is(listener, GateStatus.HOLD, "no chunk since the reset"), "the reset")


def test_a_gate_that_is_not_active_cannot_be_reset(
    listener: Listener, start_node: StartNode
) -> None:
    start_node("gate", autostart=False)
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        change = ChangeState.Request(transition=Transition(id=transition))
        assert listener.call(ChangeState, "/vla/gate/change_state", change).success
    change = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert listener.call(ChangeState, "/vla/gate/change_state", change).success
    answer = listener.call(Trigger, "/vla/gate/reset", Trigger.Request())
    assert not answer.success
    assert answer.message == "the gate is not active"


def test_a_press_that_is_released_at_once_stops_all_the_same(
    robot: TopicRobot, listener: Listener, gate: NodeProcess
) -> None:
    publisher = robot.node.create_publisher(Bool, "/vla/estop", event_qos())
    wait_for(lambda: publisher.get_subscription_count() == 1, "the gate to listen")
    for pressed in (True, False):
        publisher.publish(Bool(data=pressed))
    wait_for(status_is(listener, GateStatus.ESTOP, "emergency stop"), "the emergency stop")


def test_a_button_that_repeats_that_it_is_released_does_not_release_the_service(
    robot: TopicRobot, listener: Listener, gate: NodeProcess
) -> None:
    publisher = robot.node.create_publisher(Bool, "/vla/estop", event_qos())
    wait_for(lambda: publisher.get_subscription_count() == 1, "the gate to listen")
    assert listener.call(SetBool, "/vla/gate/estop", SetBool.Request(data=True)).success
    wait_for(status_is(listener, GateStatus.ESTOP, "emergency stop"), "the emergency stop")
    publisher.publish(Bool(data=False))
    assert publisher.wait_for_all_acked()
    refused = listener.call(Trigger, "/vla/gate/reset", Trigger.Request())
    assert refused.message == "release the emergency stop before the reset"
    publisher.publish(Bool(data=True))
    gate_says = listener.call(SetBool, "/vla/gate/estop", SetBool.Request(data=False)).message
    assert gate_says == "released here; the button on the topic estop is still pressed"


@pytest.mark.parametrize(
    ("shift_s", "reason"),
    [
        (-1, "s old, at most 0.100 s is allowed (they arrive at"),
        (1, "s from the future, at most 0.050 s is allowed; do the clocks agree? (they arrive at"),
    ],
)
def test_joint_states_whose_clock_is_off_are_named_with_their_topic(
    robot: TopicRobot, listener: Listener, gate: NodeProcess, shift_s: int, reason: str
) -> None:
    robot.spoil[STATE] = lambda m: setattr(m.header.stamp, "sec", m.header.stamp.sec + shift_s)
    held = status_is(listener, GateStatus.HOLD, f"{STATE}: the joint state is ")
    wait_for(held, "the topic in the reason")
    complaint(listener, STATE, reason)


def test_a_joint_state_that_no_joint_can_have_is_named_and_the_gate_lives_on(
    robot: TopicRobot, listener: Listener, gate: NodeProcess
) -> None:
    robot.spoil[STATE] = lambda m: m.position.__setitem__(1, 1e12)
    reason = f"{STATE}: the joint state of shoulder_lift is 1e+12 rad, more than a turn outside"
    wait_for(status_is(listener, GateStatus.HOLD, reason), "the reason")
    complaint(listener, STATE, "does the driver publish radians?")
    robot.spoil.clear()
    wait_for(status_is(listener, GateStatus.HOLD, "no chunk has come"), "the gate to go on")


def test_another_device_on_the_topic_of_the_joint_states_does_not_hold_the_arm(
    robot: TopicRobot, listener: Listener, gate: NodeProcess
) -> None:
    wheels = robot.node.create_publisher(JointState, STATE, sensor_qos())
    message = JointState(name=["left_wheel"], position=[1.0])
    robot.node.create_timer(0.01, lambda: wheels.publish(message))
    wait_for(lambda: wheels.get_subscription_count() >= 1, "the gate to listen")
    since = listener.last(STATUS).ticks
    held = status_is(listener, GateStatus.HOLD, STATE)
    never(held, "the other device held the arm", 1.0)
    assert listener.last(STATUS).ticks > since + 50


def test_commands_that_only_the_policy_listens_to_are_told(
    robot: TopicRobot, listener: Listener, gate: NodeProcess, start_node: StartNode
) -> None:
    robot.node.destroy_subscription(next(iter(robot.node.subscriptions)))  # its drivers are off
    start_node("policy", backend="swaying", bundle="").wait_active()
    complaint(listener, COMMANDS, "nobody subscribes to the commands: is the driver running")


def test_a_second_source_of_commands_is_told(
    robot: TopicRobot, listener: Listener, gate: NodeProcess
) -> None:
    robot.node.create_publisher(Float64MultiArray, COMMANDS, command_qos())
    complaint(listener, COMMANDS, "1 more publish commands beside this gate")


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
    assert not answer.success
    assert answer.message.startswith(f"{STATE}: the joint state is 0.")
    assert answer.message.endswith(" s old, at most 0.100 s is allowed")


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
    wait_for(
        lambda: (
            bool(robot.commands) and abs(robot.commands[-1][0] - robot.contract.home[0]) > 0.03
        ),
        "motion",
    )
    assert gate.end() == 0
    wait_for(
        lambda: np.allclose(robot.commands[-1], robot.commands[-2], atol=1e-6),
        "the last commands to come, which stand still",
    )


def test_a_stop_that_takes_longer_than_a_second_is_waited_for(
    robot: TopicRobot, listener: Listener, start_node: StartNode, tmp_path: Path
) -> None:
    values = yaml.safe_load(find_contract("tabletop_sim").read_text(encoding="utf-8"))
    for joint in values["action"]["joints"].values():
        joint.update(velocity=1.2, acceleration=1.0, jerk=20.0)
    contract = tmp_path / "slow.yaml"
    contract.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    gate = start_node("gate", contract=str(contract)).wait_active()
    wait_for(status_is(listener, GateStatus.HOLD, "no chunk has come"), "the gate to hold")
    chunks = ChunkSource(robot)
    chunks.wait_heard()
    rows = np.repeat(robot.positions[None], 40, axis=0)
    rows[:, 0] += np.minimum(0.12 * np.arange(1, 41), 1.8)
    chunks.send(0.0, positions=rows, step_s=0.1)
    wait_for(
        lambda: len(robot.commands) > 1 and (robot.commands[-1] - robot.commands[-2])[0] > 0.011,
        "1.1 rad/s",
    )
    assert gate.end() == 0
    assert "still moving" not in gate.output
    wait_for(
        lambda: np.allclose(robot.commands[-1], robot.commands[-2], atol=1e-6),
        "the last commands to come, which stand still",
    )


def test_whoever_ends_the_gate_waits_for_its_longest_stop_before_it_kills() -> None:
    assert sum(PATIENCE_S) > LONGEST_BRAKE_S


def test_a_status_rate_that_is_none_ends_the_node_with_one_message(start_node: StartNode) -> None:
    process = start_node("gate", status_rate_hz=0.0)
    assert process.wait() == 78
    assert "status_rate_hz: expected a rate above 0 Hz, got 0" in process.output
    assert "Traceback" not in process.output


@pytest.mark.parametrize("rate_hz", [-20.0, math.nan, math.inf])
def test_status_rates_that_no_timer_can_have_are_refused(rate_hz: float) -> None:
    with pytest.raises(ValueError, match=f"expected a rate above 0 Hz, got {rate_hz:g}"):
        GateParameters(contract="tabletop_sim", status_rate_hz=rate_hz)


def test_the_status_goes_on_when_simulated_time_stands_still(
    robot: TopicRobot, listener: Listener, start_node: StartNode
) -> None:
    start_node("gate", use_sim_time=True).wait_active()
    wait_for(lambda: listener.last(STATUS), "a status without a clock")


def test_without_realtime_the_scheduling_is_left_as_it_is(start_node: StartNode) -> None:
    gate = start_node("gate", realtime=False).wait_active()
    assert "control thread: as it is, without `realtime`" in gate.output
    threads = [int(entry.name) for entry in Path(f"/proc/{gate.pid}/task").iterdir()]
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}


def test_an_unknown_contract_ends_the_node_with_one_message(start_node: StartNode) -> None:
    process = start_node("gate", contract="no_such_robot")
    assert process.wait() == 78
    assert "there is no robot 'no_such_robot'; shipped are so101, tabletop_sim" in process.output
    assert "Traceback" not in process.output
