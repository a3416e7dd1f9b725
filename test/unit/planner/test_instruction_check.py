"""Which instructions the planner refuses, and what it says."""

from __future__ import annotations

import time
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core.errors import InstructionRejected
from vla_ros.planner import InstructionCheck
from vla_ros.sim.instructions import sample_instruction
from vla_ros.sim.reasoning import REASONING_SUITES, sample_reasoning_scene
from vla_ros.sim.scenes import TEST_SEED

CHECK = InstructionCheck()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (" \t\n ", "is empty"),
        ("x" * 10_000, "has 10000 characters; at most 500 are read"),
        ("red cube " * 40, "word pieces, the policy reads 32; say it in fewer words"),
        ("pick up\x00 the red cube", "cannot be printed"),
        ("make me a coffee", "nothing in it is known here"),
        ("asdf qwerty", "nothing in it is known here"),
        ("12345 ???", "nothing in it is known here"),
        ("hebe den roten Würfel", "nothing in it is known here"),
        ("can you sing", "nothing in it is known here"),
        ("pick up the elephant", "it names no object"),
        ("put it in the bowl", "it names no object"),
        ("push left", "it names no object"),
        ("I am feeling blue", "it does not say what to do"),
        ("open the box", "it does not say what to do"),
        ("pick up the pink cube", "nothing here is pink"),
        ("what is the weight of the red cube?", "it asks a question"),
        ("don't touch the red cube", "it says what not to do"),
        ("Please do not lift the red cube", "it says what not to do"),
        ("stop", "it says what not to do"),
        ("don\u2019t touch the red cube", "it says what not to do"),
        ("Don`t touch the red cube", "it says what not to do"),
        ("no, don't push the red cube", "it says what not to do"),
        ("hey, don't touch the red cube", "it says what not to do"),
        ("kindly don't touch the red cube", "it says what not to do"),
        ("robot, do not lift the red cube", "it says what not to do"),
        ("you must not touch the red cube", "it says what not to do"),
        ("don't touch the red cube, it is hot", "it says what not to do"),
        ("don't lift the red cube, you'll drop it", "it says what not to do"),
        ("the red cube over there, don't touch it", "it says what not to do"),
        ("don't touch it, the red cube", "it says what not to do"),
        ("don't go and touch the red cube", "it says what not to do"),
        ("I don't want you to put the red cube in the bowl", "it says what not to do"),
        ("take care not to touch the red cube", "it says what not to do"),
        ("the red cube must not be touched", "it says what not to do"),
        ("no touching the red cube", "it says what not to do"),
        ("leave the red cube alone", "it says what not to do"),
        ("hands off the red cube", "it says what not to do"),
        ("come on, just don't touch the red cube", "it says what not to do"),
        ("don't take the larger cube", "it says what not to do"),
        ("do not touch the one that is not red", "it says what not to do"),
        ("the leftmost object must not be moved", "it says what not to do"),
        ("leave the smallest thing alone", "it says what not to do"),
        ("not the red one", "it says what not to do"),
        ("purple monkey dishwasher", "it does not say what to do"),
        ("do the right thing", "it does not say what to do"),
        ("he is the tallest", "it does not say what to do"),
        ("the only thing I want is coffee", "nothing in it is known here"),
        ("thing one and thing two", "nothing in it is known here"),
        ("a thing of beauty is a joy for ever", "nothing in it is known here"),
        ("pick up the thing", "it names no object"),
        ("put the object in the bowl", "it names no object"),
        ("push the item to the left", "it names no object"),
        ("take the biggest risk", "it names no object"),
        ("go to the nearest exit", "it names no object"),
        ("lift the pink object", "nothing here is pink"),
        ("put the pink cube on the white plate", "nothing here is pink"),
        ("what is the largest thing on the table?", "it asks a question"),
        ("push the red cube left, then lift the pink ball", '"lift the pink ball": nothing here'),
    ],
)
def test_an_instruction_nobody_can_act_on_is_refused_with_the_reason(
    text: str, reason: str
) -> None:
    with pytest.raises(InstructionRejected, match=reason):
        CHECK.accept(text)


def test_a_refusal_says_what_would_be_understood() -> None:
    with pytest.raises(InstructionRejected) as caught:
        CHECK.accept("fly to the moon")

    for word in ("reach", "stack", "cylinder", "purple", "plate", "pick up the red cube"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "Move your hand to the red cube, but don't grab it.",
        "Don't grab the red cube, just bump it left.",
        "Don\u2019t grab the red cube, just bump it left.",
        "Don't leave the red cube lying on the table, stick it in the bowl.",
        "Pick the red cube up and wait, don't set it down yet.",
        "Next one: get yourself to the red cube. Don't pick anything up.",
        "Lay the red cube on the blue cube and make sure it doesn't fall off.",
        "robot must touch the red cube, not move it",
        "the red cube should be in the air, not on the table",
        "the red cube should not touch the table any more",
        "please take up the red cube and no put down",
        "Testing grip strength: get the red cube up and don't drop it.",
        "touch but don't lift the red cube",
        "push, don't lift, the red cube to the left",
        "why don't you lift the red cube?",
        "don't stop pushing the red cube left",
        "don't worry, lift the red cube",
        "stop at the red cube",
        "blue block -> gripper, do not put it down",
        "do not lift anything, just red cube, backwards",
    ],
)
def test_an_order_passes_with_what_it_forbids_beside_it(text: str) -> None:
    assert CHECK.accept(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "pick up the red cube",
        "yeet the red cube leftwards",
        "Don't forget to lift the red cube",
        "pik up the gren blok",
        "lift something red",
        "touch the can",
        "grab the crimson block!",
        "put the red cube on the white plate",
        "are you able to make the red cube travel left?",
        "take the smallest",
        "grab the left one",
        "yeet the larger cube leftwards",
        "boop the thing behind the bowl",
        "yoink the odd one out",
        "fetch the non-red cube",
        "lift the cube that is not red",
        "pick up the one that isn't a ball",
        "lift the smaler obejct",
        "touch whatever is closest to you",
        "give me the bigger of the two cubes",
        "pick the second block from the left",
        "put the thing that is neither red nor green onto the plate",
        "graze the object that differs from the others",
        "grab one of the two balls",
        "put the bigger one on the white plate",
    ],
)
def test_words_nobody_foresaw_pass_when_they_name_an_object(text: str) -> None:
    assert CHECK.accept(text) == text


def test_white_space_is_tidied() -> None:
    assert CHECK.accept("  lift\n the \t red cube ") == "lift the red cube"


@pytest.mark.parametrize("split", ["train", "phrasing"])
def test_every_instruction_of_the_core_suite_passes(split: str) -> None:
    rng = np.random.default_rng(7)
    tasks: tuple[tuple[str, str | tuple[str, str] | None, str | None], ...] = (
        ("reach", None, None),
        ("lift", None, None),
        ("push", None, "backward"),
        ("place", "plate", None),
        ("stack", ("green", "cylinder"), None),
    )
    for index in range(1000):
        skill, target, direction = tasks[index % len(tasks)]
        text = sample_instruction(rng, skill, ("orange", "cube"), target, direction, split).text
        assert CHECK.accept(text) == text


@pytest.mark.parametrize(("split", "at_most"), [("seeds", 0.01), ("phrasing", 0.05)])
def test_sentences_of_the_reasoning_suites_pass(split: str, at_most: float) -> None:
    texts = [
        sample_reasoning_scene(seed=TEST_SEED + index, suite=suite, split=split).text
        for suite in REASONING_SUITES
        for index in range(100)
    ]
    refused = []
    for text in texts:
        try:
            CHECK.accept(text)
        except InstructionRejected as error:
            refused.append(str(error))

    assert len(refused) <= at_most * len(texts), refused


def test_each_step_may_be_as_long_as_an_instruction() -> None:
    first = "please push the one red cube that stands in front of the yellow cylinder to the left"
    second = "lift the blue ball that lies behind the round bowl off the table and hold it up"
    text = f"{first}, then {second}"

    assert CHECK.accept(text) == text
    assert CHECK.steps(text) == (first, second)


def test_the_policys_own_counter_of_word_pieces_is_used() -> None:
    check = InstructionCheck(count_tokens=lambda text: 33)

    with pytest.raises(InstructionRejected, match="it has 33 word pieces"):
        check.accept("lift the red cube")


@given(st.text(max_size=600))
@settings(max_examples=200, deadline=None)
def test_any_text_is_accepted_or_refused_quickly_and_never_crashes(text: str) -> None:
    begin = time.perf_counter()
    with suppress(InstructionRejected):
        assert CHECK.accept(text) == " ".join(text.split())
    assert time.perf_counter() - begin < 1.0


@pytest.mark.parametrize(
    "text", [" ".join(["abcdefghijklmnopqrstuvwxyzabc"] * 16), "not abcdefghijk, " * 15]
)
def test_the_longest_text_of_long_words_is_judged_within_a_second(text: str) -> None:
    begin = time.perf_counter()

    with pytest.raises(InstructionRejected):
        CHECK.accept(text)

    assert time.perf_counter() - begin < 1.0
