"""Chunks that are cut to a policy's horizon, and chunks whose first rows were executed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_ros.core.errors import UserError
from vla_ros.learning.begun_chunks import begun_chunks, draw_delays
from vla_ros.learning.collection import CollectionConfig, collect
from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.experts import HORIZON
from vla_ros.learning.recipes import tabletop_small
from vla_ros.learning.training import Trainer
from vla_ros.learning.training_config import TrainingConfig


def test_begun_chunks_are_what_was_executed_and_then_the_answer_to_where_that_ends() -> None:
    # one joint: commands 0, 1, 2 ...; the answer to state r counts up from 100 r
    command = np.arange(10.0)[:, None]
    chunk = (100.0 * np.arange(10)[:, None] + np.arange(4))[..., None]
    states = {"command": command, "chunk": chunk}
    found = begun_chunks(states, np.array([3, 3, 5]), np.array([0, 2, 3]))
    assert found[..., 0].tolist() == [[300, 301, 302, 303], [4, 5, 500, 501], [6, 7, 8, 800]]


def test_delays_reach_the_longest_but_never_past_the_end_of_an_episode() -> None:
    rng = np.random.default_rng(0)
    delays = draw_delays(rng, 3, np.full(2000, 100))
    assert set(delays) == {0, 1, 2, 3}
    assert 0.5 < (delays == 0).mean() < 0.65
    assert draw_delays(rng, 3, np.zeros(50, int)).tolist() == [0] * 50


def test_demonstrations_are_cut_to_the_policys_horizon(demonstrations: Path) -> None:
    whole, cut = (Demonstrations.load([demonstrations], horizon=h) for h in (None, 10))
    assert whole.states["chunk"].shape[1] == HORIZON
    np.testing.assert_array_equal(cut.states["chunk"], whole.states["chunk"][:, :10])


def test_chunks_that_are_too_short_are_refused_unless_they_train_the_eyes_alone(
    demonstrations: Path,
) -> None:
    with pytest.raises(
        UserError, match=rf"shard-000000000\.npz: its chunks have {HORIZON} rows, and the policy's"
    ):
        Demonstrations.load([demonstrations], horizon=HORIZON + 4)
    data = Demonstrations.load([], [demonstrations], horizon=HORIZON + 4)
    assert data.states["chunk"].shape[1] == HORIZON + 4
    assert not data.meta["imitate"].any()


def test_a_policy_with_a_simulated_delay_learns_from_begun_chunks(config: TrainingConfig) -> None:
    policy = replace(tabletop_small(), head="flow", horizon=HORIZON, flow_delay=5)
    trainer = Trainer(replace(config, images=0, steps=1), policy)
    assert np.isfinite(list(next(trainer.run()).values())).all()
    gradient = dict(trainer.policy.named_parameters())["head.known.weight"].grad
    assert gradient is not None
    assert (gradient[:, :5] != 0).any()
    assert (gradient[:, 5:] == 0).all()


def test_a_slow_policy_is_followed_only_when_it_has_decided(tmp_path: Path) -> None:
    plain = CollectionConfig(
        directory=tmp_path / "plain", episodes=1, image_probability=0.0, lag_s=0.4
    )
    slow = replace(plain, directory=tmp_path / "slow", one_at_a_time=True)
    commands = []
    for config in (plain, slow):
        list(collect(config, workers=1))
        commands.append(Demonstrations.load([config.directory]).states["command"])
    count = min(map(len, commands))
    assert not np.array_equal(commands[0][:count], commands[1][:count])
    with pytest.raises(UserError, match=r"one-at-a-time is False, was True"):
        list(collect(replace(slow, one_at_a_time=False), workers=1))
