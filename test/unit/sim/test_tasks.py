"""The judge: success and violation, from physics alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from vla_ros.core.types import FloatArray
from vla_ros.learning.inverse_kinematics import ArmKinematics
from vla_ros.sim.layout import DIRECTIONS
from vla_ros.sim.scenes import Scene, sample_scene
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import (
    DISTURBANCE,
    DWELL_S,
    LIFT_HEIGHT,
    PUSH_DISTANCE,
    REACH_ABOVE,
    Score,
)


@pytest.fixture(scope="module")
def table() -> Iterator[Tabletop]:
    table = Tabletop(noisy=False)
    yield table
    table.close()


def scene_of(skill: str, wanted: Callable[[Scene], bool] = lambda _: True) -> Scene:
    scenes = (sample_scene(seed=seed, skill=skill) for seed in range(200))
    return next(scene for scene in scenes if wanted(scene))


def hold(table: Tabletop, name: str, xyz: FloatArray, seconds: float = DWELL_S + 0.05) -> Score:
    """Keep a thing at a place against gravity, with the arm at rest; return the score."""
    joint = table.data.joint(name)
    for _ in range(round(seconds / 0.01)):
        joint.qpos[:3] = xyz
        joint.qvel[:] = 0.0
        table.step(table.command)
    return table.score()


def start_of(table: Tabletop, name: str) -> FloatArray:
    return np.array(table.judge.start_of(name))


def above(height: float) -> FloatArray:
    return np.array([0.0, 0.0, height])


def other_than_named(scene: Scene) -> str:
    return next(
        item.name for item in scene.objects if item.name not in (scene.named, scene.target)
    )


def test_nothing_is_done_at_the_start(table: Tabletop) -> None:
    for skill in ("reach", "push", "lift", "place", "stack"):
        table.reset(scene_of(skill))
        score = hold_still(table, 0.5)
        assert not score.success
        assert not score.violated
        assert score.reason == "the task is not done yet"


def hold_still(table: Tabletop, seconds: float) -> Score:
    for _ in range(round(seconds / 0.01)):
        table.step(table.command)
    return table.score()


def test_the_named_object_in_the_air_is_a_lift(table: Tabletop) -> None:
    scene = scene_of("lift")
    table.reset(scene)
    up = start_of(table, scene.named) + above(LIFT_HEIGHT + 0.02)
    assert not hold(table, scene.named, up, DWELL_S / 2).success, "shorter than the dwell"
    score = hold(table, scene.named, up)
    assert score.success
    assert score.reason.startswith("lift done at")


def test_success_stays_when_the_object_comes_down_again(table: Tabletop) -> None:
    scene = scene_of("lift")
    table.reset(scene)
    start = start_of(table, scene.named)
    hold(table, scene.named, start + above(0.08))
    assert hold(table, scene.named, start).success


def test_another_object_in_the_air_is_no_lift_and_spoils_the_episode(table: Tabletop) -> None:
    scene = scene_of("lift")
    table.reset(scene)
    wrong = other_than_named(scene)
    score = hold(table, wrong, start_of(table, wrong) + above(0.08))
    assert not score.success
    assert score.violated
    assert score.reason == f"{wrong} was moved, which the instruction does not ask for"
    hold(table, wrong, start_of(table, wrong))
    after = hold(table, scene.named, start_of(table, scene.named) + above(0.08))
    assert not after.success, "a violation is latched"


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_push_counts_in_the_asked_direction_alone(table: Tabletop, direction: str) -> None:
    scene = scene_of("push", lambda scene: scene.direction == direction)
    along = np.array([*DIRECTIONS[direction], 0.0])
    across = along[[1, 0, 2]]
    for shift, done in (
        (along * (PUSH_DISTANCE + 0.005), True),
        (along * (PUSH_DISTANCE - 0.01), False),
        (-along * 0.06, False),
        (along * 0.042 + across * 0.035, False),
    ):
        table.reset(scene)
        score = hold(table, scene.named, start_of(table, scene.named) + shift)
        assert score.success == done, f"{shift}"


def test_carrying_an_object_is_no_push(table: Tabletop) -> None:
    scene = scene_of("push")
    table.reset(scene)
    along = np.array([*DIRECTIONS[str(scene.direction)], 0.0])
    shift = along * 0.06 + above(0.06)
    assert not hold(table, scene.named, start_of(table, scene.named) + shift).success


def test_a_place_counts_in_the_named_container_alone(table: Tabletop) -> None:
    scene = scene_of("place", lambda scene: len(scene.containers) == 2)
    half = scene.find(scene.named).half_size
    for container in scene.containers:
        table.reset(scene)
        inside = np.array([*container.xy, 0.005 + half])
        assert hold(table, scene.named, inside).success == (container.name == scene.target)
    table.reset(scene)
    above = np.array([*scene.containers[0].xy, 0.09])
    assert not hold(table, scene.named, above).success, "it hovers"


def test_a_stack_counts_on_the_named_object_at_rest(table: Tabletop) -> None:
    scene = scene_of("stack", lambda scene: len(scene.objects) >= 3)
    top, base = scene.find(scene.named), scene.find(str(scene.target))
    height = base.half_size * 2 + top.half_size
    table.reset(scene)
    on_top = np.array([*start_of(table, base.name)[:2], height])
    assert hold(table, top.name, on_top).success
    table.reset(scene)
    beside = on_top + np.array([base.half_size + 0.01, 0, 0])
    assert not hold(table, top.name, beside).success
    other = scene.find(other_than_named(scene))
    if other.shape != "ball":
        table.reset(scene)
        wrong = np.array([*start_of(table, other.name)[:2], other.half_size * 2 + top.half_size])
        assert not hold(table, top.name, wrong).success


def hover(table: Tabletop, name: str) -> Score:
    """Bring the hand above a thing and stay; return the score."""
    arm = ArmKinematics()
    half = table.scene.find(name).half_size
    point = np.array(table.data.body(name).xpos) + above(half + REACH_ABOVE)
    goal = table.joint_positions
    for _ in range(200):
        goal = arm.follow(goal, point, 0.05)
    begin = table.command
    for share in np.linspace(0.0, 1.0, 100):
        table.step(begin + share * (goal - begin))
    return hold_still(table, 0.6)


def test_reaching_is_the_hand_above_the_object_and_nothing_else(table: Tabletop) -> None:
    scene = scene_of("reach")
    table.reset(scene)
    assert hover(table, scene.named).success
    table.reset(scene)
    assert not hover(table, other_than_named(scene)).success


def test_reaching_a_thing_that_was_knocked_away_does_not_count(table: Tabletop) -> None:
    scene = scene_of("reach")
    table.reset(scene)
    aside = np.array([0.0, DISTURBANCE + 0.01, 0.0])
    hold(table, scene.named, start_of(table, scene.named) + aside, 0.05)
    score = hover(table, scene.named)
    assert not score.success
    assert score.violated
    assert score.reason == f"{scene.named} was moved, which the instruction does not ask for"
