"""A ROS domain of its own for each test process, node processes, and a robot made of topics."""

from __future__ import annotations

import os

os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from vla_ros_interfaces.msg import ActionChunk, GateStatus

from vla_ros.bringup.graph import NodeDescription
from vla_ros.contract import load_contract
from vla_ros.ros.qos import command_qos, latched_qos
from vla_ros.ros.transport import use_shipped_profile
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import GraphProcess, NodeProcess
from vla_ros.testing.spinning import Spinner
from vla_ros.testing.topic_robot import TopicRobot
from vla_ros.testing.waiting import wait_for

CONTRACT = "tabletop_sim"

use_shipped_profile()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "test/ros/" in item.path.as_posix():
            item.add_marker(pytest.mark.ros)


@pytest.fixture(scope="session")
def executor() -> Iterator[SingleThreadedExecutor]:
    with Spinner("session") as spinner:
        yield spinner.executor


@pytest.fixture
def listener(executor: SingleThreadedExecutor) -> Iterator[Listener]:
    node = rclpy.create_node("listener")
    made = Listener(node)
    made.listen(GateStatus, "/vla/gate/status", latched_qos())
    made.listen(ActionChunk, "/vla/policy/chunk", command_qos())
    executor.add_node(node)
    yield made
    remove(executor, node)


@pytest.fixture
def robot(executor: SingleThreadedExecutor) -> Iterator[TopicRobot]:
    node = rclpy.create_node("robot")
    made = TopicRobot(node, load_contract(CONTRACT))
    executor.add_node(node)
    yield made
    remove(executor, node)


def remove(executor: SingleThreadedExecutor, node: Node) -> None:
    """Destroy a node in the thread that spins it, where none of its callbacks runs meanwhile."""
    executor.remove_node(node)
    destroyed = executor.create_task(node.destroy_node)
    wait_for(destroyed.done, "the node to be gone")


@pytest.fixture
def start_node() -> Iterator[Callable[..., NodeProcess]]:
    """Start node processes with parameters; they are ended with the test."""
    started: list[NodeProcess] = []

    def start(name: str, **parameters: Any) -> NodeProcess:
        parameters.setdefault("contract", CONTRACT)
        started.append(NodeProcess(NodeDescription(name=name, parameters=parameters)))
        return started[-1]

    yield start
    for process in started:
        process.end()


@pytest.fixture(scope="module")
def graph() -> Iterator[GraphProcess]:
    """The simulation graph with the swaying policy, shared by the tests of a module."""
    process = GraphProcess("sim", "--backend", "swaying").wait_ready()
    yield process
    assert process.end() == 0, process.output
