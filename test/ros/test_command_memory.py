"""What the policy is told about the command in force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from vla_ros.contract import load_contract
from vla_ros.contract.specs import CommandSpec
from vla_ros.ros.command_memory import IN_FORCE_NS, CommandMemory
from vla_ros.ros.joints import write_joint_state
from vla_ros.ros.qos import command_qos
from vla_ros.testing.topic_robot import TopicRobot
from vla_ros.testing.waiting import wait_for

COMMANDS = "/forward_position_controller/commands"


def test_the_command_in_force_is_the_last_one_before_the_observation(robot: TopicRobot) -> None:
    clock = [0]
    memory = CommandMemory(robot.node, load_contract("tabletop_sim"), lambda: clock[0])
    publisher = robot.node.create_publisher(Float64MultiArray, COMMANDS, command_qos())
    wait_for(publisher.get_subscription_count, "the memory to be found")
    assert memory.at(100) is None
    for stamp, value in ((10, 0.1), (20, 0.2)):
        clock[0] = stamp
        publisher.publish(Float64MultiArray(data=[value] * 6))
        wait_for(lambda: memory.at(clock[0]) is not memory.at(clock[0] - 1), "the command")
    first, second = memory.at(15), memory.at(20)
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(first, 0.1)
    np.testing.assert_allclose(second, 0.2)
    assert memory.at(9) is None
    assert memory.at(20 + IN_FORCE_NS + 1) is None


def test_what_is_no_command_is_not_remembered(robot: TopicRobot) -> None:
    memory = CommandMemory(robot.node, load_contract("tabletop_sim"), lambda: 1)
    publisher = robot.node.create_publisher(Float64MultiArray, COMMANDS, command_qos())
    wait_for(publisher.get_subscription_count, "the memory to be found")
    publisher.publish(Float64MultiArray(data=[0.0, 1.0]))
    publisher.publish(Float64MultiArray(data=[float("nan")] * 6))
    publisher.publish(Float64MultiArray(data=[0.5] * 6))
    wait_for(lambda: memory.at(1) is not None, "the good one")
    found = memory.at(1)
    assert found is not None
    np.testing.assert_allclose(found, 0.5)


def test_a_stamped_command_is_in_force_from_its_stamp_on(robot: TopicRobot) -> None:
    contract = load_contract("tabletop_sim")
    spec = CommandSpec(topic="/stamped", type="sensor_msgs/msg/JointState")
    contract = replace(contract, action=replace(contract.action, command=spec))
    now_ns = 1_000_000_000
    memory = CommandMemory(robot.node, contract, lambda: now_ns)
    publisher = robot.node.create_publisher(JointState, spec.topic, command_qos())
    wait_for(publisher.get_subscription_count, "the memory to be found")

    def command_at(stamp_ns: int) -> float:
        found = memory.at(stamp_ns)
        return float("nan") if found is None else round(float(found[0]), 3)

    def send(stamp_ns: int, value: float) -> None:
        before = memory.history.received
        names, targets = contract.action.joints, np.full(6, value)
        publisher.publish(write_joint_state(stamp_ns, names, targets, np.zeros(6)))
        wait_for(lambda: memory.history.received > before, "the command")

    send(now_ns - 30_000_000, 0.1)
    send(now_ns + 2_000_000, 0.2)
    send(0, 0.3)  # starts now
    send(now_ns - 10_000_000_000, 0.4)  # of another clock: arrives now
    assert command_at(now_ns) == 0.4
    assert command_at(now_ns - 1) == 0.1
    assert command_at(now_ns + 2_000_000) == 0.2, "the one that is due latest"
    assert np.isnan(command_at(now_ns - 30_000_001))
