"""How an instruction is cut into steps."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.planner import StepSplitter
from vla_ros.sim.reasoning import REASONING_SUITES, sample_reasoning_scene
from vla_ros.sim.scenes import TEST_SEED, sample_scene

SPLITTER = StepSplitter()
PUSH, LIFT, TOUCH = "push the red cube left", "lift the blue ball", "touch the green cylinder"


@pytest.mark.parametrize(
    "text",
    [
        f"{PUSH}, then {LIFT}",
        f"{PUSH} and then {LIFT}",
        f"{PUSH} then {LIFT}",
        f"first {PUSH}, then {LIFT}",
        f"first of all, {PUSH}; afterwards {LIFT}",
        f"{PUSH}. After that, {LIFT}",
        f"{PUSH}; once that is done, {LIFT}",
        f"{PUSH}. When you're done, {LIFT}",
        f"begin with this: {PUSH}. Afterwards {LIFT}",
        f"before you {LIFT}, {PUSH}",
        f"{PUSH} before you {LIFT}",
        f"{LIFT}, but first {PUSH}",
        f"{LIFT}, but not before you {PUSH}",
        f"{PUSH}. {LIFT}",
        f"{PUSH}; {LIFT}",
        f"{PUSH} and {LIFT}",
        f"1. {PUSH} 2. {LIFT}",
        f"step 1: {PUSH}, step 2: {LIFT}",
    ],
)
def test_two_orders_are_two_steps_in_the_order_in_which_they_are_meant(text: str) -> None:
    assert SPLITTER.split(text) == (PUSH, LIFT)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (f"after pushing the red cube left, {LIFT}", ("pushing the red cube left", LIFT)),
        (f"{LIFT} after pushing the red cube left", ("pushing the red cube left", LIFT)),
        (f"once you've pushed the red cube left, {LIFT}", ("pushed the red cube left", LIFT)),
        (f"before lifting the blue ball, {PUSH}", (PUSH, "lifting the blue ball")),
        (f"{PUSH}, followed by lifting the blue ball", (PUSH, "lifting the blue ball")),
    ],
)
def test_a_step_keeps_the_words_it_was_said_in(text: str, steps: tuple[str, ...]) -> None:
    assert SPLITTER.split(text) == steps


@pytest.mark.parametrize(
    "text",
    [
        f"{PUSH}, then {TOUCH}, then {LIFT}",
        f"first {PUSH}, then {TOUCH} and finally {LIFT}",
        f"{PUSH}, {TOUCH}, and then {LIFT}",
        f"1) {PUSH} 2) {TOUCH} 3) {LIFT}",
        f"{PUSH}. {TOUCH}. {LIFT}",
        f"before you {LIFT}, {PUSH} and then {TOUCH}",
    ],
)
def test_there_may_be_three_steps(text: str) -> None:
    assert SPLITTER.split(text) == (PUSH, TOUCH, LIFT)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (
            "push the larger cube left, then lift the one behind the bowl",
            ("push the larger cube left", "lift the one behind the bowl"),
        ),
        (
            "touch the cube that is not red, then push the smallest object right",
            ("touch the cube that is not red", "push the smallest object right"),
        ),
        (
            "graze the odd one out, then pet the leftmost thing",
            ("graze the odd one out", "pet the leftmost thing"),
        ),
    ],
)
def test_steps_may_name_things_by_reasoning(text: str, steps: tuple[str, ...]) -> None:
    assert SPLITTER.split(text) == steps


@pytest.mark.parametrize(
    "text",
    [
        "pick up the blue ball and then put it into the bowl",
        "pick up the red cube, then put the cube in the bowl",
        "grab the red cube, then place on the green cube",
        "touch the red cube and don't move it",
        "lift the red cube, then wait",
        "first the red cube, then the blue ball on top of it",
        "touch the red cube, then the blue one",
        "put the red cube next to the blue ball",
        "touch the cube that stands before the red ball",
        "lift the red cube and then do not touch the blue ball",
        "don't lift the red cube. Lift the blue ball.",
        "if you see a red cube, then lift the blue ball",
        "never lift the red cube before you touch the blue ball",
        "below: purple cube; above: orange block",
        "ok then, lift the red cube",
        "then then then",
        "lift the red cube",
        "",
    ],
)
def test_what_is_one_task_or_cannot_be_cut_with_certainty_is_one_step(text: str) -> None:
    assert SPLITTER.split(text) == (text,)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (
            f"{PUSH}, then pick up the blue ball and put it in the bowl",
            (PUSH, "pick up the blue ball and put it in the bowl"),
        ),
        (
            f"pick up the blue ball, then put it in the bowl, then {PUSH}",
            ("pick up the blue ball, then put it in the bowl", PUSH),
        ),
        (f"{PUSH}, then wait, then {LIFT}", (f"{PUSH}, then wait", LIFT)),
    ],
)
def test_what_is_no_step_stays_with_the_one_before_it(text: str, steps: tuple[str, ...]) -> None:
    assert SPLITTER.split(text) == steps


def one_step_sentences(split: str, count: int) -> list[str]:
    """Return sentences of the core suite and of every reasoning suite but that of steps."""
    core = [sample_scene(seed=TEST_SEED + i, split=split).text for i in range(count)]
    if split == "train":
        return core
    return core + [
        sample_reasoning_scene(seed=TEST_SEED + i, suite=suite, split=split).text
        for suite in REASONING_SUITES
        if suite != "steps"
        for i in range(count // 8)
    ]


@pytest.mark.parametrize("split", ["train", "seeds", "phrasing", "combination"])
def test_a_sentence_of_one_step_is_never_cut(split: str) -> None:
    texts = one_step_sentences(split, 160)

    assert [text for text in texts if len(SPLITTER.split(text)) != 1] == []


@pytest.mark.parametrize(
    ("split", "at_least"), [("seeds", 0.97), ("phrasing", 0.95), ("combination", 0.97)]
)
def test_sentences_of_two_steps_are_cut_in_two(split: str, at_least: float) -> None:
    texts = [
        sample_reasoning_scene(seed=TEST_SEED + i, suite="steps", split=split).text
        for i in range(100)
    ]
    good = sum(len(SPLITTER.split(text)) == 2 for text in texts)

    assert good >= at_least * len(texts)


ORDERS = st.sampled_from(
    [
        PUSH,
        LIFT,
        TOUCH,
        "put the yellow ball in the bowl",
        "pick up the smaller cube and put it on the plate",
        "point at the one that is not red",
        "it",
        "wait",
        "",
    ]
)
JOINTS = st.sampled_from(
    [", then ", " and then ", ". ", "; ", ". After that, ", " and ", ", ", " before you ", " 2. ",
     " after ", ", but first ", " next ", ":", " "]
)  # fmt: skip
SENTENCES = st.tuples(
    st.sampled_from(["", "first ", "before you ", "after ", "once you have ", "then "]),
    ORDERS,
    st.lists(st.tuples(JOINTS, ORDERS), max_size=4),
).map(lambda drawn: drawn[0] + drawn[1] + "".join(a + b for a, b in drawn[2]))


@given(st.one_of(SENTENCES, st.text(max_size=200)))
@settings(max_examples=200, deadline=None)
def test_steps_are_never_empty_and_hold_words_of_the_instruction_only(text: str) -> None:
    tidy = " ".join(text.split())
    steps = SPLITTER.split(tidy)

    assert steps
    assert all(step in tidy for step in steps)
    assert len(steps) == 1 or all(step.strip() for step in steps)
    said = Counter(word for step in steps for word in step.split())
    assert all(said[word] <= tidy.count(word) for word in said)


@pytest.mark.parametrize(
    "text",
    [
        "red cube, " * 50,
        f"{LIFT}, " * 26,
        f"{LIFT} and then " * 15,
        f"before you {LIFT}, " * 16,
        "abcdefghijklm nopqrst, then " * 17,
        "the object that is not " * 21,
    ],
)
def test_the_longest_text_is_cut_within_a_second(text: str) -> None:
    begin = time.process_time()
    SPLITTER.split(text[:500])

    assert time.process_time() - begin < 1.0
