"""Sends goals to `run_instruction` and keeps what comes back, for tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.task import Future
from vla_ros_interfaces.action import RunInstruction

from vla_ros.planner import Outcome
from vla_ros.testing.waiting import wait_for

ACTION = "/vla/run_instruction"
#: How long to wait for an answer, and how often to ask.
ANSWER_S, TRIES = 4.0, 5


class SentGoal:
    """One goal on its way; something else spins the node."""

    def __init__(self, node: Node, instruction: str, timeout_s: float = 0.0) -> None:
        """Send the goal; wait until it is accepted.

        Raises:
            AssertionError: if there is no planner.
        """
        self.feedback: list[Any] = []
        self._node = node
        self._client = ActionClient(node, RunInstruction, ACTION)
        if not self._client.wait_for_server(20.0):
            raise AssertionError(f"no planner serves {ACTION}")
        goal = RunInstruction.Goal(instruction=instruction, timeout_s=timeout_s)
        self._handle = self._send(goal)
        self._result = self._spinning(self._handle.get_result_async)

    def _send(self, goal: Any) -> Any:
        """Send the goal until it is answered: a killed planner is seen for a while yet."""
        for _ in range(TRIES):
            sending = self._spinning(
                lambda: self._client.send_goal_async(
                    goal, feedback_callback=lambda message: self.feedback.append(message.feedback)
                )
            )
            with contextlib.suppress(AssertionError):
                wait_for(sending.done, "the planner to take the goal", ANSWER_S)
                return sending.result()
        raise AssertionError(f"{ACTION} does not answer")

    def cancel(self) -> None:
        """Ask for the goal to be cancelled."""
        self._spinning(self._handle.cancel_goal_async)

    def wait(self, timeout_s: float = 40.0) -> tuple[Outcome, str]:
        """Return the outcome and its message."""
        wait_for(self._result.done, "the result of the goal", timeout_s)
        result = self._result.result().result
        self._client.destroy()
        return Outcome(result.outcome), result.message

    def _spinning(self, ask: Callable[[], Future]) -> Future:
        """Ask something in the thread that spins, and return where the answer will be.

        From another thread the answer may come before rclpy has noted that it was asked for, and
        is then thrown away.
        """
        asked = self._node.executor.create_task(ask)
        wait_for(asked.done, "the executor to spin")
        return asked.result()
