"""The planner node by itself: what it tells the policy, and when."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String
from vla_ros_interfaces.msg import GateStatus

from vla_ros.planner import Outcome
from vla_ros.ros.instruction_sender import PAUSE_S, InstructionSender
from vla_ros.ros.qos import latched_qos
from vla_ros.testing.goal import SentGoal
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import NodeProcess
from vla_ros.testing.waiting import wait_for

StartNode = Callable[..., NodeProcess]
INSTRUCTION = "/vla/instruction"
TASK = "push the red cube"
PUSH, LIFT = "push the red cube left", "lift the blue ball"


class FakeGate:
    """Says 20 times a second that it executes a chunk of the instruction it heard last.

    Attributes:
        progress: Of every chunk.
        grounding: Of the chunks of an instruction; 1 for those that are not in here.
    """

    def __init__(self, node: Node, executor: SingleThreadedExecutor) -> None:
        self.progress = 0.0
        self.grounding: dict[str, float] = {}
        self._text = ""
        node.create_subscription(String, INSTRUCTION, self._hear, latched_qos())
        self._publisher = node.create_publisher(GateStatus, "/vla/gate/status", latched_qos())
        node.create_timer(0.05, self._report)
        executor.wake()

    def _hear(self, message: String) -> None:
        self._text = message.data

    def _report(self) -> None:
        self._publisher.publish(
            GateStatus(
                state=GateStatus.EXECUTING if self._text else GateStatus.HOLD,
                instruction=self._text,
                progress=self.progress,
                grounding=self.grounding.get(self._text, 1.0),
                chunk_age_s=0.02,
            )
        )


@pytest.fixture
def gate(executor: SingleThreadedExecutor, listener: Listener) -> FakeGate:
    return FakeGate(listener.node, executor)


@pytest.fixture
def said(listener: Listener) -> Callable[[], list[str]]:
    """Return what the planner has said so far, without repetitions."""
    listener.listen(String, INSTRUCTION, latched_qos())

    def without_repetitions() -> list[str]:
        texts = [message.data for message in listener.heard[INSTRUCTION]]
        return [
            text for text, before in zip(texts, [None, *texts], strict=False) if text != before
        ]

    return without_repetitions


def test_a_goal_that_takes_over_with_the_same_words_begins_anew(
    start_node: StartNode, listener: Listener, said: Callable[[], list[str]]
) -> None:
    start_node("planner", second_goal="preempt").wait_active()
    first = SentGoal(listener.node, TASK)
    wait_for(lambda: said()[-1:] == [TASK], "the instruction")
    second = SentGoal(listener.node, TASK)
    assert first.wait()[0] is Outcome.PREEMPTED
    wait_for(lambda: said()[-3:] == [TASK, "", TASK], "a pause between the two")
    second.cancel()
    assert second.wait()[0] is Outcome.CANCELED


@pytest.mark.parametrize("second", [LIFT, PUSH])
def test_the_steps_of_an_instruction_are_told_one_after_the_other_with_a_pause_between(
    start_node: StartNode,
    listener: Listener,
    gate: FakeGate,
    said: Callable[[], list[str]],
    second: str,
) -> None:
    start_node("planner").wait_active()
    gate.progress = 1.0
    goal = SentGoal(listener.node, f"{PUSH}, then {second}")
    outcome, message = goal.wait()
    assert outcome is Outcome.SUCCEEDED
    assert message.startswith("all 2 steps are done")
    wait_for(lambda: said()[-1] == "", "the end of the instruction")
    assert said()[-4:] == [PUSH, "", second, ""]
    told = [(feedback.step, feedback.reason[:11]) for feedback in goal.feedback]
    assert (PUSH, "step 1 of 2") in told
    assert (second, "step 2 of 2") in told


def test_what_is_not_there_ends_the_goal_at_its_step_and_the_policy_is_told_to_stop(
    start_node: StartNode, listener: Listener, gate: FakeGate, said: Callable[[], list[str]]
) -> None:
    start_node("planner").wait_active()
    gate.progress, gate.grounding = 1.0, {LIFT: 0.125}
    outcome, message = SentGoal(listener.node, f"{PUSH}, then {LIFT}").wait()
    assert outcome is Outcome.NOT_FOUND
    assert message.startswith(f'step 2 of 2, "{LIFT}": what "{LIFT}" names is not on the table')
    assert "0.12, below 0.50" in message
    wait_for(lambda: said()[-1] == "", "the end of the instruction")


def test_a_planner_that_is_told_never_to_refuse_lets_the_policy_try(
    start_node: StartNode, listener: Listener, gate: FakeGate
) -> None:
    start_node("planner", refuse_below=0.0).wait_active()
    gate.progress, gate.grounding = 1.0, {TASK: 0.125}
    assert SentGoal(listener.node, TASK).wait()[0] is Outcome.SUCCEEDED


def test_a_refusal_setting_out_of_range_ends_the_node_with_one_message(
    start_node: StartNode,
) -> None:
    process = start_node("planner", refuse_below=1.5)
    assert process.wait() == 78
    assert "refuse_below is 1.5; expected 0 to 1" in process.output
    assert "Traceback" not in process.output


def test_goals_are_judged_when_simulated_time_stands_still(
    start_node: StartNode, listener: Listener, said: Callable[[], list[str]]
) -> None:
    start_node("planner", use_sim_time=True, start_grace_s=0.5).wait_active()
    outcome, message = SentGoal(listener.node, TASK).wait(timeout_s=10.0)
    assert outcome is Outcome.HELD
    assert "no word from the gate yet" in message
    wait_for(lambda: said()[-2:] == [TASK, ""], "the end of the instruction")


def test_an_instruction_that_follows_too_soon_on_another_waits(listener: Listener) -> None:
    now_ns = [0]
    sender = InstructionSender(listener.node, lambda: now_ns[0])
    namespaced = listener.node.resolve_topic_name("instruction")
    listener.listen(String, namespaced, latched_qos())
    heard = listener.heard[namespaced]
    sender.clear()
    wait_for(lambda: [message.data for message in heard] == [""], "the pause")
    now_ns[0] += round(0.9 * PAUSE_S * 1e9)
    sender.send("too soon")
    now_ns[0] += round(0.2 * PAUSE_S * 1e9)
    sender.send(TASK)
    wait_for(lambda: [message.data for message in heard] == ["", TASK], "the instruction")
