"""What the launch files hand to `launch`, which the wheels lack: doubles stand in for it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from vla_ros.bringup.options import Options, read_options
from vla_ros.core.errors import UserError

NAME = "vla_ros.bringup.launching"
DOUBLES = (
    "launch",
    "launch.actions",
    "launch.event_handlers",
    "launch.events",
    "launch.events.process",
    "launch.substitutions",
    "launch_ros",
    "launch_ros.actions",
)
DEFAULTS = {item.name: str(item.default) for item in fields(Options)}
DISCOVERY = "ROS_AUTOMATIC_DISCOVERY_RANGE"


@pytest.fixture
def launching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module with doubles of `launch` that note their arguments."""
    for name in DOUBLES:
        monkeypatch.setitem(sys.modules, name, MagicMock())
    sys.modules.pop(NAME, None)
    yield importlib.import_module(NAME)
    del sys.modules[NAME]


@pytest.fixture
def launch(launching: Any) -> Callable[..., None]:
    """Describe the simulation as `ros2 launch` does, with arguments, in an environment."""

    def describe(environment: dict[str, str], **arguments: str) -> None:
        values = {**DEFAULTS, "backend": "swaying", **arguments}
        launching.LaunchConfiguration = lambda name: SimpleNamespace(
            perform=lambda context: values[name]
        )
        launching.launch_description("sim")
        function = launching.OpaqueFunction.call_args.kwargs
        function["function"](SimpleNamespace(environment=environment), *function["args"])

    return describe


def test_every_option_is_a_launch_argument(launching: Any, launch: Callable[..., None]) -> None:
    launch({})
    declared = {call.args[0]: call.kwargs for call in launching.DeclareLaunchArgument.mock_calls}
    assert {name: item["default_value"] for name, item in declared.items()} == DEFAULTS
    assert declared["second_goal"]["choices"] == ("reject", "preempt")
    assert declared["seed"]["choices"] is None


def test_launched_nodes_stay_on_this_machine_unless_the_user_says_otherwise(
    launching: Any, launch: Callable[..., None]
) -> None:
    for environment, wanted in (({}, "LOCALHOST"), ({DISCOVERY: "SUBNET"}, "SUBNET")):
        launching.Node.reset_mock()
        launch(environment)
        added = [call.kwargs["additional_env"] for call in launching.Node.call_args_list]
        assert [{**environment, **item}[DISCOVERY] for item in added] == [wanted] * 4


def test_launch_arguments_reach_the_nodes(launching: Any, launch: Callable[..., None]) -> None:
    launch({}, start_stopped="True", second_goal="preempt", seed="7")
    nodes = {call.kwargs["name"]: call.kwargs for call in launching.Node.call_args_list}
    assert nodes["gate"]["parameters"][0]["start_stopped"] is True
    assert nodes["planner"]["parameters"][0]["second_goal"] == "preempt"
    assert nodes["sim"]["parameters"][0]["seed"] == 7


def test_a_launched_graph_ends_when_a_node_keeps_crashing_or_needs_the_user(
    launching: Any, launch: Callable[..., None]
) -> None:
    launch({})
    watches = [call.kwargs for call in launching.OnProcessExit.call_args_list]
    sim, gate = (watch["on_exit"] for watch in watches[:2])
    crash, refusal = SimpleNamespace(returncode=-9), SimpleNamespace(returncode=78)
    assert [sim(crash, None) for _ in range(6)] == [[]] * 6
    assert gate(crash, None) == []  # each node has a record of its own
    assert len(sim(crash, None)) == 1
    assert launching.Shutdown.call_args.kwargs["reason"] == "sim failed 7 times in a row"
    assert len(gate(refusal, None)) == 1
    assert "gate cannot work before" in launching.Shutdown.call_args.kwargs["reason"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("seed", "many", "seed: expected int, got 'many'"),
        ("use_sim_time", "perhaps", "use_sim_time: expected bool, got 'perhaps'"),
        ("sensor_reliability", "foo", "sensor_reliability: expected best_effort or reliable, got"),
    ],
)
def test_a_launch_argument_that_is_none_is_named(name: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_options({**DEFAULTS, name: text})
