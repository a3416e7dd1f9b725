"""What the policy takes for the instruction in force."""

from __future__ import annotations

import math

import pytest

from vla_ros.nodes.policy_parameters import PolicyParameters
from vla_ros.ros.instruction_input import InstructionInput, Wanted

TASK = "lift the red cube"


class Clock:
    """A clock that is set by hand [ns]."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_same_words_after_a_pause_are_another_thing_to_do(clock: Clock) -> None:
    heard = InstructionInput(1.0, clock)
    heard.hear(TASK)
    first = heard.wanted()
    for text in ("", "", TASK):  # nobody looks in between
        heard.hear(text)
    assert heard.wanted() == Wanted(text=TASK, pauses=1)
    assert heard.wanted() != first


def test_a_repeated_instruction_is_the_same_thing_to_do(clock: Clock) -> None:
    heard = InstructionInput(1.0, clock)
    assert heard.hear(TASK)
    first = heard.wanted()
    assert not heard.hear(TASK)
    assert heard.wanted() == first


def test_new_words_after_a_long_silence_are_in_force_at_once(clock: Clock) -> None:
    heard = InstructionInput(1.0, clock)
    heard.hear(TASK)
    clock.now_ns += 1_100_000_000
    assert heard.wanted() == Wanted(dropped=True)
    heard.hear("push the blue ball left")
    assert heard.wanted().text == "push the blue ball left"


def test_without_a_time_out_an_instruction_is_never_dropped(clock: Clock) -> None:
    heard = InstructionInput(0.0, clock)
    heard.hear(TASK)
    clock.now_ns += 10**15
    assert heard.wanted().text == TASK


@pytest.mark.parametrize("timeout_s", [-1.0, math.nan, math.inf])
def test_a_time_out_that_would_mean_never_is_refused(timeout_s: float) -> None:
    said = rf"instruction_timeout_s: expected 0 \(never\) .* got {timeout_s:g}"
    with pytest.raises(ValueError, match=said):
        PolicyParameters(contract="", bundle="", instruction_timeout_s=timeout_s)
