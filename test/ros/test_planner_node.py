"""The planner node by itself: what it tells the policy, and when."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from std_msgs.msg import String

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
