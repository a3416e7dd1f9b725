"""Referring expressions: whom they mean, and that they are never ambiguous."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.sim.instruction_files import instruction_directory
from vla_ros.sim.reference_phrases import REASONING_FILE, phrase_of
from vla_ros.sim.references import (
    REFERENCE_SUITES,
    Reference,
    Thing,
    draw_reference,
    find_references,
)


def thing(colour: str | None, shape: str, x: float, y: float, half: float = 0.014) -> Thing:
    return Thing(colour=colour, shape=shape, half=half, xy=(x, y))


RED_CUBE = thing("red", "cube", 0.20, 0.10)
BLUE_CUBE = thing("blue", "cube", 0.20, -0.10, half=0.018)
GREEN_BALL = thing("green", "ball", 0.15, 0.0)
BOWL = thing(None, "bowl", 0.25, 0.0)


def found(suite: str, *things: Thing, **wanted: object) -> list[Reference]:
    return [
        reference
        for reference in find_references(suite, things)
        if all(getattr(reference, key) == value for key, value in wanted.items())
    ]


@pytest.mark.parametrize(
    ("form", "answer"),
    [("left_of", 0), ("right_of", 1)],
)
def test_left_and_right_are_the_robots_own(form: str, answer: int) -> None:
    references = found("spatial", RED_CUBE, BLUE_CUBE, GREEN_BALL, form=form, anchor=2)
    cubes = [reference for reference in references if reference.words["noun"] == "cube"]
    assert [reference.answers for reference in cubes] == [(answer,)]


def test_behind_is_farther_from_the_robot() -> None:
    near, far = thing("red", "cube", 0.13, 0.05), thing("blue", "cube", 0.24, -0.05)
    references = found("spatial", near, far, thing("green", "ball", 0.18, 0.0), form="behind")
    assert {reference.answers for reference in references if reference.anchor == 2} == {(1,)}


def test_what_is_nearly_beside_is_not_called_left() -> None:
    almost = thing("red", "cube", 0.20, 0.015)
    assert not found("spatial", almost, BLUE_CUBE, GREEN_BALL, form="left_of", anchor=2)


def test_the_larger_one_is_the_larger_one() -> None:
    references = found("comparison", RED_CUBE, BLUE_CUBE, form="larger")
    assert {reference.answers for reference in references} == {(1,)}


def test_equal_sizes_are_not_compared() -> None:
    assert not found("comparison", RED_CUBE, thing("blue", "cube", 0.2, -0.1))


def test_what_comes_twice_may_be_either_of_the_two() -> None:
    references = found("counting", RED_CUBE, BLUE_CUBE, GREEN_BALL, form="one_of_two")
    assert [reference.answers for reference in references] == [(0, 1)]


def test_a_colour_picks_one_of_the_two_only_if_the_colour_alone_would_not() -> None:
    red_ball = thing("red", "ball", 0.15, 0.0)
    assert found("counting", RED_CUBE, BLUE_CUBE, red_ball, form="shape_twice")
    assert not found("counting", RED_CUBE, BLUE_CUBE, GREEN_BALL, form="shape_twice")


def test_a_negation_leaves_exactly_one() -> None:
    references = found("negation", RED_CUBE, BLUE_CUBE, GREEN_BALL, form="shape_not_colour")
    assert {(r.words["colour"], r.answers) for r in references} == {("red", (1,)), ("blue", (0,))}


def test_a_colour_that_two_things_have_names_neither() -> None:
    red_ball = thing("red", "ball", 0.15, 0.0)
    references = found("attribute", RED_CUBE, red_ball, form="colour")
    assert references == []


@pytest.mark.parametrize("suite", REFERENCE_SUITES)
def test_answers_are_objects_that_the_noun_allows(suite: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(60):
        things = random_things(rng)
        for reference in find_references(suite, things):
            assert set(reference.answers) <= set(reference.candidates)
            assert all(things[index].movable for index in reference.answers)
            assert reference.anchor not in reference.answers


@pytest.mark.parametrize("suite", REFERENCE_SUITES)
def test_mirroring_the_table_swaps_left_and_right_and_nothing_else(suite: str) -> None:
    rng = np.random.default_rng(4)
    swap = {"left_of": "right_of", "leftmost": "rightmost"}
    swap |= {value: key for key, value in swap.items()}
    for _ in range(30):
        things = random_things(rng)
        mirrored = [
            Thing(colour=t.colour, shape=t.shape, half=t.half, xy=(t.xy[0], -t.xy[1]))
            for t in things
        ]
        here = {
            (swap.get(r.form, r.form), r.answers, r.anchor) for r in find_references(suite, things)
        }
        there = {(r.form, r.answers, r.anchor) for r in find_references(suite, mirrored)}
        assert here == there


@pytest.mark.parametrize("split", ["train", "phrasing"])
@pytest.mark.parametrize("suite", REFERENCE_SUITES)
def test_every_reference_can_be_said(suite: str, split: str) -> None:
    rng = np.random.default_rng(5)
    said = set()
    for _ in range(80):
        things = random_things(rng)
        reference = draw_reference(rng, suite, things)
        if reference is None:
            continue
        phrase = phrase_of(rng, reference, things, split)
        said.add(phrase)
        assert phrase.startswith("the ")
        assert "{" not in phrase
        assert "[" not in phrase
    assert len(said) >= 8


def test_held_out_phrases_are_none_of_trainings() -> None:
    import yaml

    book = yaml.safe_load((instruction_directory() / REASONING_FILE).read_text())
    for suite, forms in book.items():
        for form, splits in forms.items():
            assert not set(splits["train"]) & set(splits["held_out"]), (suite, form)


def random_things(rng: np.random.Generator) -> list[Thing]:
    colours, shapes = ("red", "green", "blue"), ("cube", "cylinder", "ball")
    pairs = [(c, s) for c in colours for s in shapes]
    chosen = rng.permutation(len(pairs))[: int(rng.integers(3, 6))]
    things = [_drawn(rng, *pairs[int(i)], float(rng.choice([0.014, 0.018]))) for i in chosen]
    return [*things, _drawn(rng, None, "bowl", 0.0)]


def _drawn(rng: np.random.Generator, colour: str | None, shape: str, half: float) -> Thing:
    x, y = float(rng.uniform(0.13, 0.26)), float(rng.uniform(-0.2, 0.2))
    return thing(colour, shape, x, y, half)
