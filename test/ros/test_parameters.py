"""Parameters of a node are its dataclass: read-only, of the right type, with known names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter

from vla_ros.ros.parameters import ParameterError, declare_parameters, parameter
from vla_ros.ros.qos import sensor_qos


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    given: int = parameter(about="given when the node is started")
    left: float = parameter(2.0, about="left at its default")

    def __post_init__(self) -> None:
        if self.given < 0:
            raise ValueError(f"given: expected 0 or more, got {self.given}")


@pytest.fixture
def node(executor: SingleThreadedExecutor) -> Iterator[Node]:
    made = rclpy.create_node(
        "parameters",
        automatically_declare_parameters_from_overrides=True,
        parameter_overrides=[Parameter("given", value=7)],
    )
    yield made
    made.destroy_node()


def test_a_parameter_that_was_given_is_as_read_only_as_one_at_its_default(node: Node) -> None:
    assert declare_parameters(node, Settings) == Settings(given=7, left=2.0)
    for name, value in (("given", 8), ("left", 3.0)):
        (result,) = node.set_parameters([Parameter(name, value=value)])
        assert not result.successful
        assert "read-only" in result.reason
        assert node.describe_parameter(name).description
    assert declare_parameters(node, Settings) == Settings(given=7, left=2.0)


def test_a_value_that_the_dataclass_refuses_is_an_error_that_names_the_node(node: Node) -> None:
    node.set_parameters([Parameter("given", value=-1)])
    with pytest.raises(ParameterError, match="/parameters: given: expected 0 or more, got -1"):
        declare_parameters(node, Settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    given: str = parameter(about="numbers with commas between")


def test_a_list_of_one_number_is_text_too(node: Node) -> None:
    assert declare_parameters(node, Listed) == Listed(given="7")


def test_a_reliability_that_does_not_exist_is_the_users_error() -> None:
    with pytest.raises(ParameterError, match="expected one of best_effort, reliable, got 'foo'"):
        sensor_qos(reliability="foo")
