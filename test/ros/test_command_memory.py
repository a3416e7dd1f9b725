"""What the policy is told about the command in force."""

from __future__ import annotations

import numpy as np
from std_msgs.msg import Float64MultiArray

from vla_ros.contract import load_contract
from vla_ros.ros.command_memory import IN_FORCE_NS, CommandMemory
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
