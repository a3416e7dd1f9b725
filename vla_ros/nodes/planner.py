"""The `planner` node: serves `run_instruction`, tells the policy what to do, judges the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.task import Future
from vla_ros_interfaces.action import RunInstruction
from vla_ros_interfaces.msg import GateStatus

from vla_ros.contract import load_contract
from vla_ros.engine.language import TOKENIZER, token_counter
from vla_ros.nodes.planner_parameters import PlannerParameters
from vla_ros.planner import (
    GateReport,
    GateState,
    GoalSlot,
    InstructionCheck,
    Outcome,
    SecondGoal,
    SteppedGoal,
    Verdict,
)
from vla_ros.ros.diagnostics import OK, WARN, DiagnosticsPublisher, Finding
from vla_ros.ros.event_trace import EventTrace
from vla_ros.ros.instruction_sender import InstructionSender
from vla_ros.ros.lifecycle import ManagedNode
from vla_ros.ros.parameters import declare_parameters
from vla_ros.ros.periodic import create_steady_timer
from vla_ros.ros.qos import latched_qos
from vla_ros.ros.running import main_of

#: How often goals are judged and the instruction is repeated [s]. The policy drops an instruction
#: that nobody repeats: it must not go on working for a planner that is dead.
CHECK_S, REPEAT_S = 0.05, 0.2
#: What `gate/status` calls an operator who moves the robot.
OPERATOR = "operator"


@dataclass(slots=True, kw_only=True)
class RunningGoal:
    """One accepted goal: its client's handle, its monitor, and where its verdict is awaited.

    Attributes:
        told: Number of the step that the policy was told last.
    """

    handle: ServerGoalHandle
    monitor: SteppedGoal
    verdict: Future
    told: int = 1


class PlannerNode(ManagedNode):
    """One goal at a time, all in the executor's thread: callbacks note, a timer judges."""

    default_name = "planner"
    _server: ActionServer | None = None
    _working = False
    _unanswered = 0

    def setup(self) -> None:
        """Read the settings; make the action server and the instruction's publisher."""
        settings = declare_parameters(self, PlannerParameters)
        contract = load_contract(settings.contract)
        self._slot = GoalSlot(
            check=InstructionCheck(count_tokens=_token_counter(settings.bundle)),
            settings=settings.goal_settings(),
            second_goal=SecondGoal(settings.second_goal),
        )
        self._goals: list[RunningGoal] = []
        self._heard_ns = 0
        self._diagnostics = DiagnosticsPublisher(self, contract.name)
        self._instruction = InstructionSender(self)
        self._trace = EventTrace(self, "planner/trace")
        self.create_subscription(GateStatus, "gate/status", self._on_status, latched_qos())
        create_steady_timer(self, CHECK_S, self._judge)
        create_steady_timer(self, REPEAT_S, self._repeat)
        create_steady_timer(self, 1.0, self._diagnose)
        self._server = ActionServer(
            self,
            RunInstruction,
            "run_instruction",
            execute_callback=self._execute,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
        )

    def start(self) -> None:
        """Clear what a planner before this one may have left behind, and take goals."""
        self._working = True
        self._instruction.clear()

    def stop(self) -> None:
        """End the running goal and tell the policy to stop."""
        if not self._working:
            return
        self._working = False
        for goal in self._goals:
            goal.monitor.end(Outcome.FAILED, "the planner is shutting down", now_ns=_now_ns())
        self._judge()
        self._instruction.clear()

    @property
    def answering(self) -> int | None:
        """How many clients have not been told yet how their goal ended."""
        return self._unanswered

    def teardown(self) -> None:
        """Give up the action."""
        if self._server is not None:
            self._server.destroy()
            self._server = None

    async def _execute(self, handle: ServerGoalHandle) -> Any:
        """Follow one goal to its verdict. A refused goal ends at once, with the reason."""
        request = handle.request
        if not self._working:
            return self._refuse(handle, "the planner is not active")
        admission = self._slot.admit(request.instruction, request.timeout_s, _now_ns())
        if admission.monitor is None:
            return self._refuse(handle, admission.reason)
        if admission.preempted is not None:
            self._instruction.clear()  # even of the same words this one begins anew
        goal = RunningGoal(
            handle=handle, monitor=admission.monitor, verdict=Future(executor=self.executor)
        )
        self._goals.append(goal)
        self._unanswered += 1
        self._trace.tell("goal", instruction=goal.monitor.instruction)
        self._repeat()
        verdict: Verdict = await goal.verdict
        self._trace.tell("verdict", outcome=verdict.outcome.name, message=verdict.message)
        self._finish(handle, verdict.outcome)
        self._unanswered -= 1
        return RunInstruction.Result(**asdict(verdict))

    def _refuse(self, handle: ServerGoalHandle, reason: str) -> Any:
        self._trace.tell("refused", message=reason)
        handle.abort()
        return RunInstruction.Result(outcome=int(Outcome.REJECTED), message=reason)

    def _finish(self, handle: ServerGoalHandle, outcome: Outcome) -> None:
        """Set the action's own state, which knows only three endings."""
        if outcome is Outcome.SUCCEEDED:
            handle.succeed()
        elif outcome is Outcome.CANCELED and handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()

    def _judge(self) -> None:
        """Look at every goal; what has its verdict is answered and no longer instructed."""
        now_ns = _now_ns()
        for goal in list(self._goals):
            if goal.handle.is_cancel_requested:
                goal.monitor.end(Outcome.CANCELED, "canceled by the client", now_ns=now_ns)
            verdict = goal.monitor.check(now_ns)
            if verdict is None:
                self._follow_steps(goal)
                continue
            self._goals.remove(goal)
            goal.verdict.set_result(verdict)
            if self._slot.current is None:
                self._instruction.clear()

    def _follow_steps(self, goal: RunningGoal) -> None:
        """Have the policy begin anew if another step is under way, even of the same words."""
        if goal.told == goal.monitor.number:
            return
        goal.told = goal.monitor.number
        self._trace.tell("step", number=str(goal.told), instruction=goal.monitor.step)
        self._instruction.clear()

    def _repeat(self) -> None:
        """Repeat the instruction, and tell the client how it goes."""
        current = self._slot.current
        if current is None or not self._working:
            return
        self._instruction.send(current.step)
        feedback = RunInstruction.Feedback(**asdict(current.feedback(_now_ns())))
        for goal in self._goals:
            if goal.monitor is current:
                goal.handle.publish_feedback(feedback)

    def _on_status(self, message: GateStatus) -> None:
        self._heard_ns = _now_ns()
        if self._slot.current is None:
            return
        self._slot.current.observe(
            GateReport(
                received_ns=self._heard_ns,
                state=GateState(message.state),
                reason=message.reason,
                instruction=message.instruction,
                progress=message.progress,
                grounding=message.grounding,
                chunk_age_s=message.chunk_age_s,
                operated=message.actor == OPERATOR,
            )
        )

    def _diagnose(self) -> None:
        silent = _now_ns() - self._heard_ns > 1e9
        current = self._slot.current
        self._diagnostics.publish(
            [
                Finding(
                    name="gate/status",
                    message="the gate is not heard: is it running?" if silent else "ok",
                    level=WARN if silent else OK,
                ),
                Finding(name="goal", message=current.instruction if current else "none"),
            ]
        )


def _token_counter(bundle: str) -> Callable[[str], int] | None:
    """Return the bundle's own counter; None for a policy that reads text by itself."""
    if not bundle or not (Path(bundle) / TOKENIZER).is_file():
        return None
    return token_counter(bundle)


def _now_ns() -> int:
    return time.monotonic_ns()


main = main_of(PlannerNode)

if __name__ == "__main__":
    main()
