"""`vla_ros run`: send a goal to a running graph and show what happens."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def run(
    instruction: Annotated[str, typer.Argument(help="What the arm is to do, as a sentence.")],
    timeout: Annotated[
        float, typer.Option(help="Longest duration in seconds; 0 takes the planner's default.")
    ] = 0.0,
    wait: Annotated[
        float, typer.Option(help="How long to wait for the graph, in seconds.")
    ] = 10.0,
) -> None:
    """Make the arm do what a sentence says; Ctrl-C cancels.

    Exit status: 0 only if the task succeeded; 1 for any other outcome; 2 if no graph is running.
    """
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    from vla_ros.ros.goal_client import run_goal  # rclpy reads the variable when it is imported

    raise typer.Exit(run_goal(instruction, timeout_s=timeout, wait_s=wait))
