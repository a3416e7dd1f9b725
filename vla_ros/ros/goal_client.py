"""A client of `run_instruction` that shows the feedback live and cancels when it is to end."""

from __future__ import annotations

import signal
import time
from typing import Any

from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.task import Future
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from vla_ros_interfaces.action import RunInstruction

from vla_ros.core.conventions import NAMESPACE
from vla_ros.core.errors import UserError
from vla_ros.ros.graph_client import GraphClient

Result = RunInstruction.Result
ACTION = f"{NAMESPACE}/run_instruction"
OUTCOMES = {
    Result.SUCCEEDED: "SUCCEEDED",
    Result.TIMED_OUT: "TIMED_OUT",
    Result.CANCELED: "CANCELED",
    Result.REJECTED: "REJECTED",
    Result.PREEMPTED: "PREEMPTED",
    Result.HELD: "HELD",
    Result.FAILED: "FAILED",
    Result.NOT_FOUND: "NOT_FOUND",
}
#: How long a cancelled goal may take to end [s].
CANCEL_PATIENCE_S = 5.0
#: A planner repeats its feedback five times a second; after this long it is gone [s].
SILENCE_S = 4.0
#: What asks this process to end: Ctrl-C, a supervisor, a terminal that is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
REFUSED = "the planner refused the goal; its log says why"


class GoalClient(GraphClient):
    """Sends one goal and follows it to its end.

    Attributes:
        progress: The last that the policy reported, 0 to 1.
    """

    def __init__(self, console: Console) -> None:
        """Start rclpy and show everything on `console`."""
        super().__init__("vla_ros_run")
        self._console = console
        self.progress = 0.0
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, self._on_interrupt)
        self._client = ActionClient(self.node, RunInstruction, ACTION)
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            console=console,
        )
        self._task = self._bar.add_task("", total=1.0, text="")
        self._step = ""
        self._heard_at = 0.0

    def run(self, instruction: str, timeout_s: float, wait_s: float) -> int:
        """Send the goal and return the exit status.

        Raises:
            UserError: if no planner answers within `wait_s` [s].
        """
        self.wait_for(
            self._client.server_is_ready,
            wait_s,
            f"no planner serves the action {ACTION}: start the graph first, for example "
            "`vla_ros up sim` in another terminal (same ROS_DOMAIN_ID and "
            "ROS_AUTOMATIC_DISCOVERY_RANGE)",
        )
        goal = RunInstruction.Goal(instruction=instruction, timeout_s=timeout_s)
        sending = self._client.send_goal_async(goal, feedback_callback=self._on_feedback)
        handle = self._take_handle(sending, wait_s)
        if not handle.accepted:
            return self._report(Result(outcome=Result.REJECTED, message=REFUSED))
        with self._bar:
            result = self._follow(handle)
        return self._report(result)

    def _take_handle(self, sending: Future, wait_s: float) -> ClientGoalHandle:
        """Wait [s] for the planner's answer, also when interrupted: what it takes is cancelled.

        Raises:
            UserError: if it does not answer.
        """
        interrupted, give_up_at = False, time.monotonic() + wait_s
        while not sending.done():
            if self.interrupted and not interrupted:
                interrupted, give_up_at = True, time.monotonic() + CANCEL_PATIENCE_S
            if time.monotonic() > give_up_at:
                after_s = CANCEL_PATIENCE_S if interrupted else wait_s
                raise UserError(
                    f"the planner did not answer within {after_s:g} s; should the arm move all "
                    f"the same, call {NAMESPACE}/gate/estop"
                )
            self.spin_once()
        return sending.result()

    def _follow(self, handle: ClientGoalHandle) -> Any:
        """Spin until the result is there; cancel once when interrupted."""
        future = handle.get_result_async()
        self._heard_at = time.monotonic()
        give_up_at: float | None = None
        while not future.done():
            self.spin_once()
            if self.interrupted and give_up_at is None:
                self._console.print("cancelling ...")
                handle.cancel_goal_async()
                give_up_at = time.monotonic() + CANCEL_PATIENCE_S
            if give_up_at is not None and time.monotonic() > give_up_at:
                raise UserError("the planner did not cancel the goal: is it still running?")
            if time.monotonic() - self._heard_at > SILENCE_S:
                message = "the planner no longer answers: it was stopped or restarted"
                return Result(outcome=Result.FAILED, message=message)
        return future.result().result

    def _on_interrupt(self, *_: object) -> None:
        self.interrupted = True

    def _on_feedback(self, message: Any) -> None:
        feedback = message.feedback
        self._heard_at = time.monotonic()
        self.progress = feedback.progress
        if feedback.step != self._step:
            self._step = feedback.step
            self._console.print(f"step: [bold]{feedback.step}[/]  ({feedback.reason})")
        text = f"{feedback.progress:.0%}  {feedback.elapsed_s:.1f} s"
        self._bar.update(
            self._task, completed=feedback.progress, description=feedback.step, text=text
        )

    def _report(self, result: Any) -> int:
        name = OUTCOMES.get(result.outcome, str(result.outcome))
        good = result.outcome == Result.SUCCEEDED
        self._console.print(
            f"[bold {'green' if good else 'red'}]{name}[/] after {result.duration_s:.1f} s: "
            f"{result.message}"
        )
        return 0 if good else 1


def run_goal(instruction: str, *, timeout_s: float, wait_s: float) -> int:
    """Send one goal, show its feedback, and return the exit status: 0 only if it succeeded.

    Raises:
        UserError: if no planner answers.
    """
    client = GoalClient(Console(highlight=False))
    try:
        return client.run(instruction, timeout_s, wait_s)
    finally:
        client.close()
