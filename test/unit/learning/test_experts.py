"""The scripted experts do what the instructions ask for, and their chunks can be executed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from vla_ros.learning.experts import DECISIONS, HORIZON, Expert
from vla_ros.learning.inverse_kinematics import ArmKinematics
from vla_ros.learning.look_ahead import (
    GRIPPER_SPEED,
    PAD_OFFSET,
    STEP_S,
    Move,
    Situation,
    advance,
    look,
)
from vla_ros.learning.rollouts import Disturbance, Record, run_episode
from vla_ros.planner.goal_monitor import GoalSettings
from vla_ros.sim.environment import Environment
from vla_ros.sim.scenes import SKILLS, sample_scene


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    environment = Environment(cameras=())
    yield environment
    environment.close()


def demonstrate(
    environment: Environment,
    skill: str,
    seed: int,
    *,
    disturbance: float = 0.0,
    lag_s: float = 0.0,
) -> Record:
    return run_episode(
        environment,
        sample_scene(seed=seed, skill=skill),
        Expert(),
        Disturbance(np.random.default_rng(seed), disturbance),
        rng=np.random.default_rng(0),
        image_probability=0.0,
        lag_s=lag_s,
    )


@pytest.mark.parametrize("skill", SKILLS)
def test_an_expert_succeeds_and_moves_nothing_else(environment: Environment, skill: str) -> None:
    calm = Disturbance(np.random.default_rng(0), 0.0)
    for seed in (1, 2, 3):
        record = run_episode(
            environment,
            sample_scene(seed=seed, skill=skill),
            Expert(),
            calm,
            rng=np.random.default_rng(0),
            image_probability=0.0,
            linger_s=3.0,
        )
        score = environment.table.score()
        assert record.success, f"seed {seed}: {record.texts}: {score.reason}"
        assert not score.violated
        progress = np.array(record.states["progress"])
        assert progress[0] < 0.5
        assert progress[-1] >= 0.9, "what being done looks like is demonstrated"


@pytest.mark.parametrize("skill", SKILLS)
def test_an_expert_succeeds_although_its_chunks_come_late(
    environment: Environment, skill: str
) -> None:
    for seed in (1, 2, 3):
        record = demonstrate(environment, skill, seed, lag_s=0.05)
        assert record.success, f"seed {seed}: {record.texts}: {environment.table.score().reason}"


@pytest.mark.parametrize("lag_s", [0.0, 0.1])
@pytest.mark.parametrize("skill", ["lift", "place", "stack"])
def test_a_chunk_turns_the_gripper_around_once_at_most(
    environment: Environment, skill: str, lag_s: float
) -> None:
    for seed in (1, 2, 3):
        record = demonstrate(environment, skill, seed, disturbance=1.0, lag_s=lag_s)
        for chunk in np.array(record.states["chunk"], np.float64):
            turns = np.sign(np.round(np.diff(chunk[:, 5]), 3))
            turns = turns[turns != 0]
            assert (np.diff(turns) != 0).sum() <= 1, f"seed {seed}: {chunk[:, 5]}"


def test_no_row_opens_the_gripper_on_the_way_up(environment: Environment) -> None:
    record = demonstrate(environment, "lift", 2)
    progress = np.array(record.states["progress"], np.float64)
    gripper = np.array(record.states["chunk"])[:, :, 5]
    lifting = progress >= 0.7
    assert lifting.sum() > 5
    assert (np.diff(gripper[lifting], axis=1) <= 1e-6).all(), "opens on the way up"


def test_what_is_held_is_not_done(environment: Environment) -> None:
    environment.reset(sample_scene(seed=2, skill="place"))
    now = look(environment.table)
    assert now.target is not None
    there = np.array([*now.target[:2], 0.006 + now.half])
    held = replace(now, item=there, tcp=there, held=True, gripper=0.3, gripper_command=0.2)
    assert DECISIONS["place"](held).progress < GoalSettings().done_progress
    let_go = replace(held, held=False, gripper=0.9)
    assert DECISIONS["place"](let_go).progress >= GoalSettings().done_progress


HAND = np.array([0.22, 0.0, 0.09])
HOLDING = Situation(
    tcp=HAND,
    gripper=0.35,
    gripper_command=0.1,
    item=HAND,
    half=0.016,
    held=True,
    start=np.array([0.2, 0.05, 0.016]),
    target=None,
    target_top=0.006,
    along=None,
)


@pytest.mark.parametrize(
    ("top", "aside", "rests"),
    [
        (0.006, 0.0, 0.022),  # in the container
        (0.006, 0.03, 0.022),
        (0.006, 0.05, 0.016),  # beside it, on the table
        (0.034, 0.0, 0.05),  # on the base
        (0.034, 0.03, 0.016),  # beside it
    ],
)
def test_what_is_let_go_is_let_go_once_and_falls_to_what_is_below(
    top: float, aside: float, rests: float
) -> None:
    now = replace(HOLDING, target=HAND * [1, 1, 0] + [0, aside, 0], target_top=top)
    opening = Move(point=now.tcp, gripper=1.5, progress=0.85)
    seen = []
    for _ in range(12):
        before, now = now, advance(now, opening)
        assert now.gripper - before.gripper <= GRIPPER_SPEED * STEP_S + 1e-9, "it jumps"
        assert now.held == (now.item[2] > 0.08)
        seen.append(now.held)
    assert seen[0]
    assert not seen[-1]
    assert sorted(seen, reverse=True) == seen
    assert now.item[2] == pytest.approx(rests)


@pytest.mark.parametrize(
    ("offset", "moves"),
    [
        ([-0.025, 0, 0], True),  # touching it from behind
        ([-0.06, 0, 0], False),  # not there yet
        ([-0.025, 0.04, 0], False),  # passing beside it
        ([-0.025, 0, 0.05], False),  # above it
        ([0.04, 0, 0], False),  # past it
    ],
)
def test_what_is_pushed_goes_along_with_the_fingers_that_touch_it(
    offset: list[float], moves: bool
) -> None:
    item = np.array([0.2, 0.0, 0.016])
    fingers = item + offset
    pad = PAD_OFFSET * np.array([1.0, 0.0, 0.0])  # along the arm, which here is the push
    now = replace(
        HOLDING, item=item, tcp=fingers + pad, held=False, along=np.array([1.0, 0.0, 0.0])
    )
    ahead = Move(point=np.add(now.tcp, [0.004, 0, 0]), gripper=0.0, progress=0.5)
    moved = advance(now, ahead).item - item
    assert (moved[0] > 0.001) == moves
    assert moved[1:] == pytest.approx([0, 0])
    assert moved[0] <= 0.004 + 1e-9


def test_a_chunk_starts_at_the_command_in_force_and_has_no_jump(environment: Environment) -> None:
    environment.reset(sample_scene(seed=2, skill="lift"))
    table = environment.table
    chunk, progress = Expert().chunk(table)
    assert chunk.shape == (HORIZON, 6)
    assert np.isfinite(chunk).all()
    assert 0.0 <= progress <= 1.0
    rows = np.vstack([table.command, chunk])
    assert np.abs(np.diff(rows, axis=0)).max() < 0.2, "faster than 4 rad/s"


def test_an_expert_has_no_memory(environment: Environment) -> None:
    environment.reset(sample_scene(seed=2, skill="push"))
    first, _ = Expert().chunk(environment.table)
    again, _ = Expert().chunk(environment.table)
    np.testing.assert_allclose(first, again, atol=1e-6)


def test_following_a_path_brings_the_tcp_to_the_point() -> None:
    arm = ArmKinematics()
    positions = np.array([0.0, -0.95, 0.5, 1.5, 0.0, 0.9])
    start = arm.tcp(positions)
    goal = np.array([0.22, 0.05, 0.06])
    for step in range(1, 41):
        positions = arm.follow(positions, start + (goal - start) * step / 40, 0.05)
    np.testing.assert_allclose(arm.tcp(positions), goal, atol=0.004)
    assert positions[5] == 0.9
