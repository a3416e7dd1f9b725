"""Training: it goes on from where it stopped, and stops where going on is pointless."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vla_ros.core.errors import UserError
from vla_ros.learning.checkpoints import (
    STATISTICS,
    policy_from_checkpoint,
    read_checkpoint,
    warm_start,
)
from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.recipes import tabletop_small
from vla_ros.learning.training import NonFiniteLoss, Trainer, TrainingConfig


def train(config: TrainingConfig) -> Trainer:
    trainer = Trainer(config, tabletop_small())
    assert len(list(trainer.run())) == config.steps
    return trainer


def test_a_stopped_run_goes_on_from_its_checkpoint(config: TrainingConfig) -> None:
    losses = Trainer(config, tabletop_small()).run()
    next(losses)
    del losses
    assert read_checkpoint(config.output / "checkpoint.pt")["step"] == 1
    trainer = Trainer(config, tabletop_small())
    assert trainer.step == 1
    assert len(list(trainer.run())) == 2
    assert read_checkpoint(config.output / "checkpoint.pt")["step"] == 3
    assert list(Trainer(config, tabletop_small()).run()) == [], "it is finished"


def test_resuming_restores_weights_average_and_optimizer(config: TrainingConfig) -> None:
    first = train(config)
    again = Trainer(config, tabletop_small())
    for key, value in first.networks.state_dict().items():
        torch.testing.assert_close(again.networks.state_dict()[key], value)
    for key, value in first.average.items():
        torch.testing.assert_close(again.average[key], value)
    moments = first.optimizer.state_dict()["state"][0]["exp_avg"]
    torch.testing.assert_close(again.optimizer.state_dict()["state"][0]["exp_avg"], moments)


def test_every_part_is_trained_and_every_loss_is_finite(config: TrainingConfig) -> None:
    trainer = Trainer(config, tabletop_small())
    before = {key: value.clone() for key, value in trainer.networks.named_parameters()}
    losses = list(trainer.run())
    assert {"state_action", "image_action", "attention_front", "location_wrist"} <= set(losses[0])
    assert all(math.isfinite(value) for step in losses for value in step.values())
    still = [key for key, value in trainer.networks.named_parameters() if value.equal(before[key])]
    assert not still, f"not trained: {still}"


def test_a_seed_gives_the_same_losses(config: TrainingConfig) -> None:
    other = replace(config, output=config.output.with_name("other"))
    other.output.mkdir()
    (other.output / "sentences.npz").hardlink_to(config.output / "sentences.npz")
    first, second = (list(Trainer(c, tabletop_small()).run()) for c in (config, other))
    for one, two in zip(first, second, strict=True):
        assert one == pytest.approx(two, rel=1e-3)


def test_a_loss_that_is_not_finite_stops_and_names_step_and_term(config: TrainingConfig) -> None:
    trainer = Trainer(config, tabletop_small())
    losses = trainer.run()
    next(losses)
    trainer.data.states["chunk"] = np.full_like(trainer.data.states["chunk"], np.nan)
    with pytest.raises(NonFiniteLoss, match=r"step 1: .*state_action=nan.*checkpoint\.pt"):
        next(losses)
    saved = read_checkpoint(config.output / "checkpoint.pt")
    assert saved["step"] == 1
    assert all(bool(torch.isfinite(value).all()) for value in saved["networks"].values())


def test_a_checkpoint_becomes_a_policy(config: TrainingConfig) -> None:
    trainer = train(config)
    policy = policy_from_checkpoint(trainer.checkpoint_path)
    assert not policy.training
    assert policy.config == tabletop_small()
    for key, value in policy.state_dict().items():
        torch.testing.assert_close(value, trainer.average[f"policy.{key}"])


def test_a_further_round_starts_from_another_runs_average(config: TrainingConfig) -> None:
    first = train(config)
    further = replace(
        config, output=config.output.with_name("further"), start=first.checkpoint_path
    )
    further.output.mkdir()
    (further.output / "sentences.npz").hardlink_to(config.output / "sentences.npz")
    trainer = Trainer(further, tabletop_small())
    assert trainer.step == 0
    for key, value in trainer.networks.state_dict().items():
        torch.testing.assert_close(value, first.average[key])


def test_weights_of_another_shape_start_anew_and_the_statistics_with_them(
    config: TrainingConfig,
) -> None:
    trainer = Trainer(config, tabletop_small())
    before = {key: value.clone() for key, value in trainer.networks.state_dict().items()}
    earlier = {key: value + 1 for key, value in before.items()}
    earlier["policy.state_mean"] = torch.zeros(12)
    del earlier["policy.head.progress.bias"]
    fresh = warm_start(trainer.networks, earlier)
    statistics = {f"policy.{name}" for name in STATISTICS}
    assert set(fresh) == {*statistics, "policy.head.progress.bias"}
    for key, value in trainer.networks.state_dict().items():
        torch.testing.assert_close(value, before[key] if key in fresh else earlier[key])


def test_demonstrations_without_commands_train_the_eyes_alone(
    config: TrainingConfig, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for path in config.data[0].glob("shard-*.npz"):
        with np.load(path) as shard:
            kept = {key: shard[key] for key in shard.files if key != "states/command"}
        np.savez(old / path.name, **kept)
    with pytest.raises(UserError, match=r"collected without commands.*--eyes-only"):
        Demonstrations.load((old,))
    assert not Demonstrations.load(config.data, (old,)).meta["imitate"].all()


def test_statistics_come_from_the_demonstrations(config: TrainingConfig) -> None:
    trainer = Trainer(config, tabletop_small())
    states = trainer.data.states
    lead = np.subtract(states["command"], states["state"])
    joint = np.concatenate([states["state"], states["velocity"], lead], 1)
    np.testing.assert_allclose(trainer.policy.state_mean[:12], joint.mean(0)[:12], atol=1e-4)
    assert (trainer.policy.state_std[12:].numpy() <= joint.std(0)[12:] + 2e-3).all()
    assert trainer.policy.imu_std.min() > 0
    gravity = trainer.policy.imu_mean[3:].norm()
    assert 6 < gravity < 11


def test_the_log_can_be_read_back(config: TrainingConfig) -> None:
    train(replace(config, steps=20, images=0, checkpoint_every=20))
    lines = (config.output / "losses.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [20]


def test_a_folder_without_demonstrations_is_named(config: TrainingConfig, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no shard-\*\.npz; make some with"):
        Trainer(replace(config, data=(tmp_path,)), tabletop_small())
