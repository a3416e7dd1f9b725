from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from vla_ros_interfaces.msg import GateStatus

from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import NodeProcess
from vla_ros.testing.topic_robot import TopicRobot
from vla_ros.testing.waiting import wait_for

StartNode = Callable[..., NodeProcess]
NODES = {"gate": {}, "policy": {"backend": "swaying", "bundle": ""}, "planner": {}, "sim": {}}
CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
DEACTIVATE, CLEANUP = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP


def change(listener: Listener, node: str, transition: int | str) -> bool:
    request = ChangeState.Request()
    if isinstance(transition, str):
        request.transition.label = transition
    else:
        request.transition.id = transition
    answer = listener.call(ChangeState, f"/vla/{node}/change_state", request)
    return bool(answer.success)


def state(listener: Listener, node: str) -> int:
    answer = listener.call(GetState, f"/vla/{node}/get_state", GetState.Request())
    return int(answer.current_state.id)


@pytest.mark.parametrize("name", NODES)
def test_every_node_goes_through_its_life_twice(
    name: str, start_node: StartNode, listener: Listener
) -> None:
    process = start_node(name, autostart=False, **NODES[name])
    for _ in range(2):
        assert state(listener, name) == State.PRIMARY_STATE_UNCONFIGURED
        for transition in (CONFIGURE, ACTIVATE, DEACTIVATE, ACTIVATE, DEACTIVATE, CLEANUP):
            assert change(listener, name, transition), process.output
    assert process.end() == 0


def test_an_impossible_transition_is_answered_and_the_node_lives_on(
    start_node: StartNode, listener: Listener
) -> None:
    process = start_node("gate", autostart=False)
    assert not change(listener, "gate", ACTIVATE)
    assert not change(listener, "gate", 250)
    assert not change(listener, "gate", "no_such_transition")
    assert state(listener, "gate") == State.PRIMARY_STATE_UNCONFIGURED
    assert change(listener, "gate", CONFIGURE)
    assert "transition '3' refused in state 'unconfigured'" in process.output


def test_a_failed_configuration_says_why_and_can_be_tried_again(
    start_node: StartNode, listener: Listener
) -> None:
    process = start_node("gate", autostart=False, contract="no_such_robot")
    for _ in range(2):
        assert not change(listener, "gate", CONFIGURE)
        assert state(listener, "gate") == State.PRIMARY_STATE_UNCONFIGURED
    assert "there is no robot 'no_such_robot'" in process.output


def test_an_inactive_gate_commands_nothing(
    robot: TopicRobot, start_node: StartNode, listener: Listener
) -> None:
    start_node("gate", autostart=False)
    assert change(listener, "gate", CONFIGURE)
    assert change(listener, "gate", ACTIVATE)
    wait_for(lambda: len(robot.commands) > 20, "commands")
    assert change(listener, "gate", DEACTIVATE)
    count = len(robot.commands)
    status = listener.last("/vla/gate/status")
    assert status.state == GateStatus.HOLD
    assert change(listener, "gate", ACTIVATE)
    wait_for(lambda: len(robot.commands) > count + 20, "commands again")


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_ends_cleanly_on_a_signal_even_if_it_comes_twice(
    name: str, number: signal.Signals, start_node: StartNode
) -> None:
    process = start_node(name, **NODES[name]).wait_active()
    process.signal(number)
    process.signal(number)
    assert process.wait() == 0
    assert "Traceback" not in process.output


def test_a_misspelt_parameter_is_named(start_node: StartNode) -> None:
    process = start_node("gate", satus_rate_hz=10.0).wait_active()
    assert "parameter 'satus_rate_hz' does not exist here" in process.output


def test_a_parameter_of_the_wrong_type_is_named(start_node: StartNode) -> None:
    process = start_node("policy", bundle="", threads="many")
    assert process.wait() == 78
    assert "/vla/policy: parameter 'threads': expected int, got 'many'" in process.output


def test_a_missing_parameter_is_named_with_the_way_to_give_it(start_node: StartNode) -> None:
    process = start_node("policy")
    assert process.wait() == 78
    assert "parameter 'bundle' is required" in process.output
    assert "-p bundle:=..." in process.output
