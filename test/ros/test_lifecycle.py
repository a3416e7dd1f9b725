from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from sensor_msgs.msg import Image
from vla_ros_interfaces.msg import GateStatus

from vla_ros.contract import find_contract
from vla_ros.core.resources import resource_path
from vla_ros.ros.qos import sensor_qos
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import NodeProcess
from vla_ros.testing.topic_robot import TopicRobot
from vla_ros.testing.waiting import wait_for

StartNode = Callable[..., NodeProcess]
NODES = {
    "gate": {},
    "policy": {"backend": "swaying", "bundle": ""},
    "planner": {},
    "sim": {},
    "teleop": {"device": "gamepad"},
}
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


def test_a_policy_with_engines_frees_them_and_is_loaded_anew(
    start_node: StartNode, listener: Listener
) -> None:
    bundle = str(resource_path("models/tabletop-small"))
    process = start_node("policy", autostart=False, bundle=bundle)
    for _ in range(2):
        for transition in (CONFIGURE, ACTIVATE, DEACTIVATE, CLEANUP):
            assert change(listener, "policy", transition), process.output
    assert process.end() == 0
    assert "Traceback" not in process.output
    assert "failed" not in process.output


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


@pytest.mark.parametrize(
    ("node", "parameters", "message"),
    [
        ("sim", {"split": "foo"}, "/vla/sim: split 'foo' does not exist; choose one of train,"),
        (
            "sim",
            {"contract": "so101"},
            "observation.images.front.width: the simulator gives 128, the contract says 640",
        ),
        (
            "policy",
            {"backend": "swaying", "bundle": "", "sensor_reliability": "foo"},
            "sensor_reliability: expected one of best_effort, reliable, got 'foo'",
        ),
    ],
)
def test_a_value_that_a_node_refuses_ends_it_with_one_line_that_says_what_exists(
    node: str, parameters: dict[str, str], message: str, start_node: StartNode
) -> None:
    process = start_node(node, **parameters)
    assert process.wait(30.0) == 78
    assert message in process.output
    assert "Traceback" not in process.output


def test_the_simulator_leaves_out_the_sensors_that_the_contract_does_not_have(
    start_node: StartNode, listener: Listener, tmp_path: Path
) -> None:
    content = yaml.safe_load(find_contract("tabletop_sim").read_text())
    for feature in ("observation.imu", "observation.images.wrist"):
        del content["observations"][feature]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    start_node("sim", contract=str(tmp_path / "mine.yaml")).wait_active()
    listener.listen(Image, "/camera/wrist/depth", sensor_qos())
    wait_for(lambda: listener.last("/camera/wrist/depth"), "a depth image")
    topics = dict(listener.node.get_topic_names_and_types())
    assert {"/joint_states", "/camera/wrist/camera_info"} <= topics.keys()
    assert not {"/imu", "/camera/wrist/image_raw"} & topics.keys()
