"""An operator's device, the teleop node and the gate, with a robot made of topics behind them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy
import yaml
from geometry_msgs.msg import Twist
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool, Trigger
from vla_ros_interfaces.msg import Acting, GateStatus
from vla_ros_interfaces.msg import ActionChunk as ActionChunkMessage

from vla_ros.contract import find_contract, load_contract
from vla_ros.core.types import ActionChunk
from vla_ros.ros.chunks import write_chunk
from vla_ros.ros.qos import command_qos, latched_qos
from vla_ros.ros.stamps import to_ns
from vla_ros.teleop.configuration import find_teleop
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import NodeProcess
from vla_ros.testing.operator_process import OperatorProcess
from vla_ros.testing.topic_robot import TopicRobot
from vla_ros.testing.waiting import happens, never, wait_for

StartNode = Callable[..., NodeProcess]
STATUS, ACTING, COMMANDS = "/vla/gate/status", "/vla/gate/acting", "/commands"
DEAD_MAN = 4


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The simulated arm with commands that are stamped with the time they are due."""
    values = yaml.safe_load(find_contract("tabletop_sim").read_text(encoding="utf-8"))
    values["action"]["command"] = {"topic": COMMANDS, "type": "sensor_msgs/msg/JointState"}
    file = tmp_path_factory.mktemp("contract") / "stamped.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return str(file)


@pytest.fixture
def robot(executor: SingleThreadedExecutor, contract: str) -> Iterator[TopicRobot]:
    node = rclpy.create_node("robot")
    made = TopicRobot(node, load_contract(contract))
    executor.add_node(node)
    yield made
    executor.remove_node(node)
    destroyed = executor.create_task(node.destroy_node)
    wait_for(destroyed.done, "the node to be gone")


@pytest.fixture
def gate(robot: TopicRobot, listener: Listener, start_node: StartNode, contract: str) -> None:
    listener.listen(Acting, ACTING, latched_qos())
    listener.listen(JointState, COMMANDS, command_qos())
    start_node("gate", contract=contract).wait_active()


class Gamepad:
    """A gamepad that an operator holds."""

    def __init__(self, listener: Listener) -> None:
        self._process = OperatorProcess("gamepad")
        self._listener = listener
        self.hold(False)

    def hold(self, pressed: bool, axes: dict[int, float] | None = None) -> None:
        """Hold the dead-man switch or not, and push sticks."""
        self._process.say(buttons=[DEAD_MAN] if pressed else [], axes=axes or {})

    def take_the_arm(self) -> None:
        """Release the switch and press it, until the operator acts."""
        deadline = time.monotonic() + 15.0
        while time.monotonic() < deadline:
            self.hold(False)
            happens(lambda: False, 0.1)
            self.hold(True)
            if happens(acts(self._listener, "operator"), 1.0):
                return
        raise AssertionError("the operator never got the arm")

    def unplug(self) -> int:
        """Say nothing any more; return the ROS time of the last message [ns]."""
        return self._process.fall_silent()

    def end(self) -> None:
        self._process.end()


class Policy:
    """Sends chunks that sway the last wrist joint, stamped now, 20 times a second."""

    def __init__(self, robot: TopicRobot) -> None:
        self._robot = robot
        self._publisher = robot.node.create_publisher(
            ActionChunkMessage, "/vla/policy/chunk", command_qos()
        )
        robot.node.create_timer(0.05, self._publish)

    def _publish(self) -> None:
        rows = np.repeat(self._robot.positions[None], 12, axis=0)
        rows[:, 4] += np.linspace(0.0, 0.1, 12)
        self._publisher.publish(
            write_chunk(
                ActionChunk(
                    stamp_ns=self._robot.now_ns(),
                    step_s=0.05,
                    joint_names=self._robot.contract.action.joints,
                    positions=rows,
                )
            )
        )


@pytest.fixture
def gamepad(
    listener: Listener, gate: None, start_node: StartNode, contract: str
) -> Iterator[Gamepad]:
    made = Gamepad(listener)
    start_node("teleop", contract=contract, device="gamepad").wait_active()
    yield made
    made.end()


def acts(listener: Listener, actor: str) -> Callable[[], bool]:
    return lambda: (last := listener.last(ACTING)) is not None and last.actor == actor


def speed(robot: TopicRobot) -> float:
    """Return the highest speed of a joint in the last commands [rad/s]."""
    last = robot.commands[-4:]
    return float(np.abs(np.diff(last, axis=0)).max()) * 100.0 if len(last) == 4 else 0.0


def last_motion_ns(listener: Listener) -> int:
    """Return when the last command was due that differs from the one before [ns]."""
    commands = list(listener.heard[COMMANDS])
    for before, after in zip(commands[-2::-1], commands[:0:-1], strict=False):
        if list(before.position) != list(after.position):
            return to_ns(after.header.stamp)
    raise AssertionError("the arm never moved")


def wait_still(robot: TopicRobot) -> None:
    count = len(robot.commands)
    wait_for(
        lambda: (
            len(robot.commands) > count + 30 and not np.diff(robot.commands[-20:], axis=0).any()
        ),
        "the arm to stand still",
    )


def test_the_operator_takes_the_arm_moves_it_and_lets_go_and_the_policy_continues(
    gamepad: Gamepad, robot: TopicRobot, listener: Listener
) -> None:
    Policy(robot)
    wait_for(acts(listener, "policy"), "the policy to act")
    gamepad.take_the_arm()
    wait_for(lambda: listener.last(STATUS).actor == "operator", "the status to say so")
    before = robot.commands[-1]
    chain = robot.contract.chain()
    tip = chain.forward(before[:5])[:3, 3]
    gamepad.hold(True, {1: 1.0})
    wait_for(
        lambda: chain.forward(robot.commands[-1][:5])[0, 3] > tip[0] + 0.02,
        "the tip to go forward",
    )
    np.testing.assert_allclose(chain.forward(robot.commands[-1][:5])[1:3, 3], tip[1:], atol=0.01)
    gamepad.hold(False)
    wait_for(acts(listener, "policy"), "the policy to go on")
    stamps = [to_ns(message.header.stamp) for message in listener.heard[ACTING]]
    assert stamps == sorted(stamps)


def test_a_gamepad_that_is_unplugged_stops_the_arm_within_a_tenth_of_a_second(
    gamepad: Gamepad, robot: TopicRobot, listener: Listener
) -> None:
    for direction in (1.0, -1.0, 1.0):
        gamepad.take_the_arm()
        gamepad.hold(True, {0: direction, 4: -direction})
        wait_for(lambda: speed(robot) > 0.2, "the arm to move")
        last_word_ns = gamepad.unplug()
        wait_still(robot)
        took_s = (last_motion_ns(listener) - last_word_ns) * 1e-9
        print(f"at rest {took_s * 1e3:.0f} ms after the last message")
        assert took_s <= 0.1
        wait_for(lambda: "gone silent" in listener.last(STATUS).reason, "the reason")


def test_an_arm_whose_operator_is_silent_is_held_until_the_operator_is_back_and_lets_go(
    gamepad: Gamepad, robot: TopicRobot, listener: Listener
) -> None:
    Policy(robot)
    gamepad.take_the_arm()
    gamepad.unplug()
    wait_for(acts(listener, ""), "the arm to be held")
    never(acts(listener, "policy"), "the policy got the arm", 0.5)
    gamepad.hold(False)
    never(acts(listener, "policy"), "a gamepad that was plugged in again let go", 0.5)
    gamepad.take_the_arm()
    gamepad.hold(False)
    wait_for(acts(listener, "policy"), "the policy to go on")


def test_after_an_emergency_stop_the_switch_has_to_be_pressed_anew(
    gamepad: Gamepad, robot: TopicRobot, listener: Listener
) -> None:
    gamepad.take_the_arm()
    gamepad.hold(True, {0: 1.0})
    wait_for(lambda: speed(robot) > 0.1, "the arm to move")
    for pressed in (True, False):
        listener.call(SetBool, "/vla/gate/estop", SetBool.Request(data=pressed))
    wait_for(lambda: listener.last(STATUS).state == GateStatus.ESTOP, "the emergency stop")
    wait_still(robot)
    assert listener.call(Trigger, "/vla/gate/reset", Trigger.Request()).success
    never(acts(listener, "operator"), "the arm moved before the switch was pressed anew", 0.5)
    gamepad.take_the_arm()


def test_a_network_operator_who_goes_silent_stops_the_arm_within_a_tenth_of_a_second(
    gate: None, robot: TopicRobot, listener: Listener, start_node: StartNode, contract: str
) -> None:
    process = start_node("teleop", contract=contract, device=network_file(contract)).wait_active()
    address = process.wait_for_line("operators connect to").rpartition(" ")[2]
    operator = OperatorProcess("network", address.replace("http:", "ws:"))
    try:
        operator.say(engaged=False)
        happens(lambda: False, 1.0)
        for _ in range(10):
            operator.say(engaged=False)
            happens(lambda: False, 0.2)
            operator.say(engaged=True, axes={"y": 1.0, "z": -1.0})
            if happens(lambda: speed(robot) > 0.1, 1.0):
                break
        last_word_ns = operator.fall_silent()
        wait_still(robot)
    finally:
        operator.end()
    took_s = (last_motion_ns(listener) - last_word_ns) * 1e-9
    print(f"at rest {took_s * 1e3:.0f} ms after the last message")
    assert took_s <= 0.1
    assert "gone silent" in listener.last(STATUS).reason


def network_file(contract: str) -> str:
    """Return a configuration like the shipped one, on a port that is free."""
    text = find_teleop("network").read_text(encoding="utf-8")
    file = Path(contract).with_name("network.yaml")
    file.write_text(text.replace("port: 8765", "port: 0"), encoding="utf-8")
    return str(file)


def test_a_base_is_driven_while_the_switch_is_held_and_stopped_when_the_gamepad_is_unplugged(
    listener: Listener, gate: None, start_node: StartNode, contract: str
) -> None:
    values = yaml.safe_load(find_teleop("gamepad").read_text(encoding="utf-8"))
    values["modes"] = ["base"]
    values["joy"]["axes"] = {"base": {"forward": {"axis": 1}, "turn": {"axis": 0}}}
    file = Path(contract).with_name("base.yaml")
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    listener.listen(Twist, "/cmd_vel", command_qos())
    gamepad = Gamepad(listener)
    try:
        start_node("teleop", contract=contract, device=str(file)).wait_active()
        gamepad.take_the_arm()
        gamepad.hold(True, {1: 1.0, 0: -1.0})
        full = 0.5 * values["speed"]["base_linear"]
        wait_for(
            lambda: (
                (last := listener.last("/cmd_vel")) is not None
                and last.linear.x == pytest.approx(full)
                and last.angular.z < 0.0
            ),
            "the base to move",
        )
        gamepad.unplug()
        wait_for(lambda: listener.last("/cmd_vel") == Twist(), "the base to be stopped")
    finally:
        gamepad.end()
