"""Scenes of the reasoning suites, and how their several goals are judged."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.sim.reasoning import (
    REASONING_SKILLS,
    REASONING_SPLITS,
    REASONING_SUITES,
    sample_reasoning_scene,
    things_of,
)
from vla_ros.sim.references import find_references
from vla_ros.sim.scenes import HELD_OUT_COMBINATIONS, TEST_SEED
from vla_ros.sim.tabletop import Tabletop


@pytest.mark.parametrize("split", REASONING_SPLITS)
@pytest.mark.parametrize("suite", REASONING_SUITES)
def test_equal_arguments_give_equal_scenes(suite: str, split: str) -> None:
    for skill in REASONING_SKILLS:
        one, other = (
            sample_reasoning_scene(seed=TEST_SEED + 5, suite=suite, split=split, skill=skill)
            for _ in range(2)
        )
        assert one.text == other.text
        assert one.objects == other.objects
        assert one.goals == other.goals


@pytest.mark.parametrize("suite", ["attribute", "spatial", "comparison", "counting", "negation"])
def test_the_object_is_one_that_a_reference_of_the_suite_means(suite: str) -> None:
    for seed in range(20):
        scene = sample_reasoning_scene(seed=seed, suite=suite)
        names = [item.name for item in scene.objects]
        answers = tuple(names.index(name) for name in scene.answers)
        things = things_of(scene.objects, scene.containers)
        assert answers in {reference.answers for reference in find_references(suite, things)}
        assert 3 <= len(scene.objects) <= 5
        assert scene.chance == len(answers) / len(scene.objects)
        assert scene.chance <= scene.noun_chance <= 1.0


def test_what_is_absent_is_not_on_the_table_and_what_is_present_is() -> None:
    kinds = set()
    for seed in range(40):
        scene = sample_reasoning_scene(seed=seed, suite="absent")
        said = scene.instruction
        there = any((i.colour, i.shape) == (said.colour, said.shape) for i in scene.objects)
        assert there != scene.absent
        kinds.add(scene.absent)
    assert kinds == {True, False}


def test_held_out_pairs_are_asked_for_in_the_combination_split_alone() -> None:
    def pairs(split: str) -> set[bool]:
        held = set()
        for seed in range(15):
            scene = sample_reasoning_scene(seed=seed, suite="spatial", split=split)
            answers = [scene.find(name) for name in scene.answers]
            held.add(any((i.colour, i.shape) in HELD_OUT_COMBINATIONS for i in answers))
        return held

    assert pairs("combination") == {True}
    assert pairs("seeds") == {False}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"suite": "magic"}, "suite 'magic'"),
        ({"suite": "spatial", "split": "x"}, "split 'x'"),
        ({"suite": "spatial", "skill": "stack"}, "skill 'stack'"),
    ],
)
def test_what_does_not_exist_is_named_with_what_does(wrong: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=f"{says} does not exist; choose one of"):
        sample_reasoning_scene(seed=0, **wrong)


def lift(table: Tabletop, name: str, height: float = 0.08) -> None:
    """Hold an object in the air for as long as a task must hold."""
    address = int(table.model.joint(name).qposadr[0])
    start = table.judge.start_of(name)
    for _ in range(40):
        table.data.qpos[address : address + 3] = start + np.array([0.0, 0.0, height])
        table.data.qvel[:] = 0.0
        table.step(table.command)


def test_either_of_two_answers_is_right_and_a_third_thing_is_not() -> None:
    scene = next(
        scene
        for scene in (
            sample_reasoning_scene(seed=seed, suite="counting", skill="lift")
            for seed in range(200)
        )
        if len(scene.answers) == 2
    )
    for name in scene.answers:
        table = Tabletop()
        table.reset(scene)
        lift(table, name)
        assert table.score().success, table.score().reason
    other = next(item.name for item in scene.objects if item.name not in scene.answers)
    table = Tabletop()
    table.reset(scene)
    lift(table, other)
    assert table.score().violated
    assert not table.score().success


def test_two_steps_are_done_only_in_their_order() -> None:
    scene = next(
        scene
        for scene in (
            sample_reasoning_scene(seed=seed, suite="steps", skill="lift") for seed in range(100)
        )
        if scene.skill == "push"
    )
    first, second = scene.goals
    table = Tabletop()
    table.reset(scene)
    lift(table, second.named)
    assert table.score().violated, "the second object was moved before the first was pushed"
    table.reset(scene)
    push(table, first.named, first.direction)
    assert not table.score().success
    assert table.score().reason == "only 1 of 2 steps are done"
    lift(table, second.named)
    assert table.score().success, table.score().reason


def push(table: Tabletop, name: str, direction: str | None) -> None:
    from vla_ros.sim.layout import DIRECTIONS

    assert direction is not None
    address = int(table.model.joint(name).qposadr[0])
    along = np.array([*DIRECTIONS[direction], 0.0])
    for _ in range(40):
        table.data.qpos[address : address + 3] = table.judge.start_of(name) + 0.055 * along
        table.data.qvel[:] = 0.0
        table.step(table.command)
        if table.judge.goals_done:
            return


def test_nothing_done_where_it_is_absent_is_no_success_of_physics_and_breaks_nothing() -> None:
    scene = sample_reasoning_scene(seed=1, suite="absent", skill="lift")
    assert scene.absent
    table = Tabletop()
    table.reset(scene)
    for _ in range(100):
        table.step(table.command)
    assert not table.score().success
    assert not table.score().violated
