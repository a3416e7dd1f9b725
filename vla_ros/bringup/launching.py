"""The graph as a ROS 2 launch description; only launch files import this."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from functools import partial

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
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

from vla_ros.bringup.graph import NodeDescription, default_environment, describe
from vla_ros.bringup.options import Options, read_options
from vla_ros.bringup.restarts import FailureCount
from vla_ros.core.conventions import EXIT_CONFIGURATION, NAMESPACE


def launch_description(kind: str) -> LaunchDescription:
    """Return one of the graphs, with the fields of `Options` as launch arguments."""
    arguments = [
        DeclareLaunchArgument(
            item.name,
            default_value=str(item.default),
            description=item.metadata["help"],
            choices=item.metadata.get("choices"),
        )
        for item in fields(Options)
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_entities, args=[kind])])


def _entities(context: LaunchContext, kind: str) -> list[LaunchDescriptionEntity]:
    """Return every node, and before it what happens when it ends."""
    values = {
        item.name: LaunchConfiguration(item.name).perform(context) for item in fields(Options)
    }
    entities: list[LaunchDescriptionEntity] = []
    for item in describe(kind, read_options(values)):
        node = _node(item, context.environment)
        ended = partial(_on_exit, item, FailureCount(item.restart))
        watch = OnProcessExit(target_action=node, on_exit=ended)
        entities += [RegisterEventHandler(watch), node]
    return entities


def _on_exit(
    item: NodeDescription, count: FailureCount, event: ProcessExited, context: LaunchContext
) -> list[EmitEvent]:
    """End the graph when it cannot work without this node; else launch starts the node again."""
    failures = count.fail()
    if event.returncode == EXIT_CONFIGURATION:
        reason = f"{item.name} cannot work before what it says above is mended"
    elif failures > item.restart.limit:
        reason = f"{item.name} failed {failures} times in a row"
    else:
        return []
    return [EmitEvent(event=Shutdown(reason=reason))]


def _node(item: NodeDescription, environment: Mapping[str, str]) -> Node:
    return Node(
        executable=sys.executable,  # an installed console script may belong to another Python
        arguments=["-m", item.module],
        name=item.name,
        exec_name=item.name,
        namespace=NAMESPACE,
        parameters=[dict(item.parameters)],
        additional_env={**default_environment(environment), **item.environment},
        output="screen",
        emulate_tty=True,
        respawn=True,
        respawn_delay=item.restart.delay_s,
    )
