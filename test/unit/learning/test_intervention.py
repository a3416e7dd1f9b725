"""An operator takes the arm from a policy that goes wrong, and what they did is what counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vla_ros.core.types import FloatArray
from vla_ros.learning.actors import Actor, actor_weights
from vla_ros.learning.batches import Batcher
from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.experts import Expert
from vla_ros.learning.intervention import InterventionRule, Operator, SupervisedDriver
from vla_ros.learning.rollouts import Driver, Record, run_episode
from vla_ros.learning.shards import save_shard, shard_path
from vla_ros.learning.texts import TextBank
from vla_ros.sim.environment import Environment
from vla_ros.sim.scenes import sample_scene
from vla_ros.sim.tabletop import Tabletop

SEED = 940_000_000


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Environment, Expert]]:
    environment = Environment(cameras=())
    yield environment, Expert()
    environment.close()


def watch(
    stage: tuple[Environment, Expert],
    policy: Driver,
    rule: InterventionRule | None = None,
    seed: int = SEED,
) -> tuple[Record, Operator]:
    """Let a policy lift something under an operator's eyes."""
    environment, expert = stage
    operator = Operator(rule)
    driver = SupervisedDriver(policy, operator)
    record = run_episode(
        environment,
        sample_scene(seed=seed, skill="lift"),
        expert,
        driver,
        rng=np.random.default_rng(0),
        image_probability=0.0,
    )
    driver.mark(record)
    return record, operator


def actors(record: Record) -> list[int]:
    return [int(str(actor)) for actor in record.states["actor"]]


@pytest.mark.parametrize("seed", [SEED, SEED + 1, SEED + 2])
def test_nobody_takes_the_arm_from_a_policy_that_does_well(
    stage: tuple[Environment, Expert], seed: int
) -> None:
    record, operator = watch(stage, lambda table, chunk: chunk, seed=seed)
    assert record.success
    assert operator.reasons == []
    assert set(actors(record)) == {Actor.POLICY}
    assert len(actors(record)) == len(record.states["state"])


def test_a_hand_that_strays_is_taken_over_and_given_back(
    stage: tuple[Environment, Expert],
) -> None:
    def astray(table: Tabletop, chunk: FloatArray) -> FloatArray:
        aside = 0.5 if 0.3 < table.time_s < 1.2 else 0.0
        moved: FloatArray = chunk + np.array([aside, 0, 0, 0, 0, 0])
        return moved

    record, operator = watch(stage, astray)
    assert record.success
    assert "the hand strays" in operator.reasons
    who = np.array(actors(record))
    assert set(who.tolist()) == {Actor.POLICY, Actor.OPERATOR}
    assert who[0] == Actor.POLICY
    changes = np.flatnonzero(np.diff(who))
    assert len(changes) >= 2, "it was given back"
    assert changes[1] - changes[0] >= round(InterventionRule().hold_s / 0.05)


def test_a_policy_that_stands_still_is_taken_over(stage: tuple[Environment, Expert]) -> None:
    def still(table: Tabletop, chunk: FloatArray) -> FloatArray:
        return np.repeat(table.command[None], len(chunk), 0)

    # an operator who minds nothing else
    patient = InterventionRule(apart_m=1.0, gripper_rad=9.0)
    record, operator = watch(stage, still, patient)
    assert set(operator.reasons) == {"it is stuck"}
    first = actors(record).index(Actor.OPERATOR)
    assert 1.0 <= 0.05 * first <= 1.0 + patient.reaction_s + 0.1


def test_a_gripper_that_closes_too_early_is_taken_over(
    stage: tuple[Environment, Expert],
) -> None:
    def closing(table: Tabletop, chunk: FloatArray) -> FloatArray:
        chunk = chunk.copy()
        chunk[:, 5] = -0.1
        return chunk

    _, operator = watch(stage, closing)
    assert operator.reasons[0] == "the gripper strays"


def test_weights_are_by_who_acted() -> None:
    found = actor_weights(np.array([0, 1, 2, 2], np.int8), 2.5)
    np.testing.assert_array_equal(found, np.array([1.0, 0.0, 2.5, 2.5], np.float32))


def test_batches_have_no_state_in_which_the_policy_acted_and_weigh_corrections(
    stage: tuple[Environment, Expert], tmp_path: Path, language_files: Path, sentences: Path
) -> None:
    def aside(table: Tabletop, chunk: FloatArray) -> FloatArray:
        moved: FloatArray = chunk + np.array([0.5, 0, 0, 0, 0, 0])
        return moved

    corrected, _ = watch(stage, aside)
    good, _ = watch(stage, lambda table, chunk: chunk)  # nobody took over: it shows nothing
    shown, _ = watch(stage, lambda table, chunk: chunk, seed=SEED + 1)
    del shown.states["actor"]
    for number, records in enumerate(([corrected, good], [shown])):
        save_shard(shard_path(tmp_path, 100 * number), records)
    data = Demonstrations.load([tmp_path])
    assert set(data.states["actor"].tolist()) == {0, 1, 2}
    bank = TextBank.build(language_files, 100, cache=sentences)
    batcher = Batcher(data, bank, None, np.random.default_rng(0), intervention_weight=3.0)
    batch = batcher.states(40, 4)
    assert set(batch.imitate.tolist()) == {1.0, 3.0}
    known = data.states["state"][data.states["actor"] == Actor.POLICY]
    drawn = batch.state[:, :6].numpy()
    assert not (drawn[:, None] == known[None]).all(2).any()
