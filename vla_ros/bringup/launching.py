"""The graph as a ROS 2 launch description; only launch files import this."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from vla_ros.bringup.graph import NodeDescription, Options, describe
from vla_ros.core.conventions import EXIT_CONFIGURATION, NAMESPACE

TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no")


def launch_description(kind: str) -> LaunchDescription:
    """Return the graph `sim` or `robot`, with the fields of `Options` as launch arguments."""
    arguments = [
        DeclareLaunchArgument(
            item.name, default_value=str(item.default), description=item.metadata["help"]
        )
        for item in fields(Options)
    ]
    give_up = RegisterEventHandler(OnProcessExit(on_exit=_give_up))
    return LaunchDescription([*arguments, give_up, OpaqueFunction(function=_nodes, args=[kind])])


def read_options(values: Mapping[str, str]) -> Options:
    """Return the options that launch arguments, which are all text, stand for.

    Raises:
        ValueError: if a number or a truth value is none; names the argument.
    """
    read: dict[str, Any] = {}
    for item in fields(Options):
        text = values[item.name]
        kind: Any = type(item.default)
        try:
            read[item.name] = _truth(text) if kind is bool else kind(text)
        except ValueError as error:
            raise ValueError(f"{item.name}: expected {kind.__name__}, got '{text}'") from error
    if read["robot"].endswith((".yaml", ".yml")):
        read["robot"] = str(Path(read["robot"]).resolve())
    return Options(**read)


def _truth(text: str) -> bool:
    if text.lower() not in TRUE + FALSE:
        raise ValueError(text)
    return text.lower() in TRUE


def _nodes(context: LaunchContext, kind: str) -> list[Node]:
    values = {
        item.name: LaunchConfiguration(item.name).perform(context) for item in fields(Options)
    }
    return [_node(item) for item in describe(kind, read_options(values))]


def _give_up(event: ProcessExited, context: LaunchContext) -> list[EmitEvent]:
    """End the graph when a node says that the user has to mend something first."""
    if event.returncode != EXIT_CONFIGURATION:
        return []
    reason = f"{event.process_name} cannot work before what it says above is mended"
    return [EmitEvent(event=Shutdown(reason=reason))]


def _node(item: NodeDescription) -> Node:
    return Node(
        executable=sys.executable,  # an installed console script may belong to another Python
        arguments=["-m", item.module],
        name=item.name,
        exec_name=item.name,
        namespace=NAMESPACE,
        parameters=[dict(item.parameters)],
        additional_env=dict(item.environment),
        output="screen",
        emulate_tty=True,
        respawn=True,
        respawn_delay=item.restart.delay_s,
        respawn_max_retries=item.restart.limit,
    )
