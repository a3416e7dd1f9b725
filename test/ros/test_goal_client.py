"""`vla_ros run` ends with its goal cancelled, whatever asks it to end and whenever."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.task import Future
from vla_ros_interfaces.action import RunInstruction

from vla_ros.testing.goal import ACTION
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import RunningCommand
from vla_ros.testing.waiting import never, wait_for

Result = RunInstruction.Result


class SlowPlanner:
    """Answers a goal only when it is let, and works on it until it is cancelled."""

    def __init__(self, listener: Listener) -> None:
        self.asked, self.let = threading.Event(), threading.Event()
        self.working = self.cancelled = False
        self._cancel = Future(executor=listener.node.executor)
        self.server = ActionServer(
            listener.node,
            RunInstruction,
            ACTION,
            execute_callback=self._execute,
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
        )

    def _on_goal(self, goal: Any) -> GoalResponse:
        self.asked.set()
        assert self.let.wait(20.0)
        return GoalResponse.ACCEPT

    def _on_cancel(self, goal: Any) -> CancelResponse:
        self.cancelled = True
        self._cancel.set_result(None)
        return CancelResponse.ACCEPT

    async def _execute(self, handle: Any) -> Any:
        self.working = True
        await self._cancel
        handle.canceled()
        return Result(outcome=Result.CANCELED, message="canceled by the client")


@pytest.fixture
def planner(listener: Listener) -> Iterator[SlowPlanner]:
    made = SlowPlanner(listener)
    yield made
    made.let.set()
    made.server.destroy()


@pytest.fixture
def run(planner: SlowPlanner) -> Iterator[RunningCommand]:
    command = [sys.executable, "-m", "vla_ros.cli.app", "run", "push the red cube"]
    # what ignores a signal hands that on: under nohup, the client would not hear SIGHUP
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    process = RunningCommand("vla_ros run", command, {**os.environ, "COLUMNS": "300"})
    signal.signal(signal.SIGHUP, before)
    wait_for(planner.asked.is_set, "the goal to be sent", 30.0)
    yield process
    planner.let.set()
    process.end()


def test_ctrl_c_before_the_goal_is_taken_cancels_it_when_it_is(
    run: RunningCommand, planner: SlowPlanner
) -> None:
    run.signal(signal.SIGINT)
    never(lambda: run.status is not None, "it left before the planner answered", 0.5)
    planner.let.set()
    assert run.wait() == 1
    assert planner.cancelled
    assert "CANCELED after" in run.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_the_client_cancels_the_goal(
    run: RunningCommand, planner: SlowPlanner, number: signal.Signals
) -> None:
    planner.let.set()
    wait_for(lambda: planner.working, "the goal to be taken")
    run.signal(number)
    assert run.wait() == 1
    assert planner.cancelled
    assert "CANCELED after" in run.output
