"""Kills a node of a running graph during motion and watches the arm; for test and bench."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from vla_ros_interfaces.msg import ActionChunk

from vla_ros.planner import Outcome
from vla_ros.ros.qos import event_qos
from vla_ros.ros.stamps import to_ns
from vla_ros.testing.goal import SentGoal
from vla_ros.testing.node_process import GraphProcess
from vla_ros.testing.waiting import happens, wait_for

COMMANDS = "/forward_position_controller/commands"
#: Commands that differ by less than this are the same [rad].
STILL_RAD = 1e-6
#: No motion changes the command by this much in a period [rad]: the gate began anew where a
#: restarted simulator has the arm.
JUMP_RAD = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class KillReport:
    """What happened after one kill -9.

    Attributes:
        hold_after_chunk_end_ms: When the arm stood still, after the end of the last chunk [ms];
            negative if it stood still before.
        commands: Commands that came after the kill; without any, nothing would be shown.
        came_back: Whether the whole graph was active again within 30 s.
        back_after_s: How long that took [s].
        next_goal_succeeded: Whether the next goal did.
    """

    hold_after_chunk_end_ms: float
    commands: int
    came_back: bool
    back_after_s: float
    next_goal_succeeded: bool


class MotionRecord:
    """Commands and chunks with the time [ns] at which they were sent, however late they come."""

    def __init__(self, node: Node) -> None:
        """Record with `node`, which something else spins."""
        self._node = node
        self.commands: list[tuple[int, Any]] = []
        self.chunks: list[tuple[int, Any]] = []
        subscribe = node.create_subscription
        subscribe(Float64MultiArray, COMMANDS, self._on_command, event_qos(depth=1000))
        subscribe(ActionChunk, "/vla/policy/chunk", self._on_chunk, event_qos(depth=1000))

    def now_ns(self) -> int:
        """Return ROS time [ns]."""
        return int(self._node.get_clock().now().nanoseconds)

    def moving(self) -> bool:
        """Return whether a chunk has moved the commands within the last quarter of a second."""
        first = next((at for at, chunk in self.chunks if chunk.horizon), None)
        if first is None:
            return False
        recent = [command for at, command in self.commands[-25:] if at > first]
        return len(recent) == 25 and float(np.ptp(recent, axis=0).max()) > 1e-3

    def hold_after_chunk_end_ms(self, killed_ns: int) -> float:
        """Return when the arm stood still after the kill, against the last chunk's end [ms]."""
        rows = [(at, chunk) for at, chunk in self.chunks if chunk.horizon]
        ends = [(at, to_ns(c.header.stamp) + round(c.horizon * c.step_s * 1e9)) for at, c in rows]
        last = next(
            i
            for i, (at, end) in enumerate(ends)
            if i + 1 == len(ends) or (ends[i + 1][0] > end and ends[i + 1][0] > killed_ns)
        )
        window_end = ends[last + 1][0] if last + 1 < len(ends) else self.now_ns()
        window = [(at, c) for at, c in self.commands if killed_ns < at < window_end]
        still_since = killed_ns
        for (_, before), (at, after) in pairwise(window):
            change = float(np.abs(after - before).max())
            if change > JUMP_RAD:
                break
            if change > STILL_RAD:
                still_since = at
        return 1e-6 * float(still_since - ends[last][1])

    def _on_command(self, message: Float64MultiArray, info: dict[str, int]) -> None:
        self.commands.append((info["source_timestamp"], np.array(message.data)))

    def _on_chunk(self, message: ActionChunk, info: dict[str, int]) -> None:
        self.chunks.append((info["source_timestamp"], message))


def kill_during_motion(
    graph: GraphProcess,
    node: Node,
    name: str,
    moving_goal: str,
    next_goal: Callable[[], str],
) -> KillReport:
    """Kill the node `name` while `moving_goal` moves the arm; then have another goal done.

    Args:
        graph: Running.
        node: Sends goals and listens; something else spins it.
        name: Of the node to kill.
        moving_goal: Instruction that moves the arm.
        next_goal: Prepares the next goal and returns its instruction, once the graph is back.

    Raises:
        AssertionError: if the arm does not move before, or goes on moving.
    """
    record = MotionRecord(node)
    goal = SentGoal(node, moving_goal)
    wait_for(lambda: record.moving(), "the arm to move", 20.0)
    spoken, killed_ns = len(graph.lines), record.now_ns()
    os.kill(graph.node_pid(name), signal.SIGKILL)

    def back() -> bool:
        return any("graph ready" in line for line in graph.lines[spoken:])

    came_back = happens(back, 30.0)
    back_after_s = (record.now_ns() - killed_ns) * 1e-9
    if name != "planner":  # a new planner does not know the goals of the one before
        goal.cancel()
        goal.wait(20.0)
    wait_for(lambda: not record.moving(), "the arm to hold", 20.0)
    hold_ms = record.hold_after_chunk_end_ms(killed_ns)
    outcome, _ = SentGoal(node, next_goal()).wait(60.0) if came_back else (None, "")
    return KillReport(
        hold_after_chunk_end_ms=hold_ms,
        commands=sum(at > killed_ns for at, _ in record.commands),
        came_back=came_back,
        back_after_s=back_after_s,
        next_goal_succeeded=outcome is Outcome.SUCCEEDED,
    )
