"""Training: it goes on from where it stopped, and stops where going on is pointless."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vla_ros.core.errors import UserError
from vla_ros.learning.checkpoints import (
    STATISTICS,
    policy_from_checkpoint,
    read_checkpoint,
    warm_start,
)
from vla_ros.learning.collection import CollectionConfig, collect
from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.precision import gradient_error
from vla_ros.learning.recipes import tabletop_small, with_fusion
from vla_ros.learning.training import NonFiniteLoss, Trainer
from vla_ros.learning.training_config import TrainingConfig


def beside(config: TrainingConfig, name: str) -> TrainingConfig:
    """The same run in a folder of its own, with the sentences that are embedded already."""
    other = replace(config, output=config.output.with_name(name))
    other.output.mkdir()
    (other.output / "sentences.npz").hardlink_to(config.output / "sentences.npz")
    return other


def without(config: TrainingConfig, *prefixes: str, name: str) -> Path:
    """A folder of the demonstrations that lacks the arrays whose names begin so."""
    folder = config.output.with_name(name)
    folder.mkdir()
    for path in config.data[0].glob("shard-*.npz"):
        with np.load(path) as shard:
            kept = {key: shard[key] for key in shard.files if not key.startswith(prefixes)}
        np.savez(folder / path.name, **kept)
    return folder


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


def test_a_run_that_was_stopped_ends_as_one_that_was_not(config: TrainingConfig) -> None:
    through = train(beside(config, "through"))
    next(Trainer(config, tabletop_small()).run())
    torch.rand(7)
    resumed = Trainer(config, tabletop_small())
    assert resumed.step == 1
    assert len(list(resumed.run())) == 2
    for key, value in through.networks.state_dict().items():
        assert value.equal(resumed.networks.state_dict()[key]), key
    for key, value in through.average.items():
        assert value.equal(resumed.average[key]), key


def test_a_run_goes_on_with_other_settings_only_where_they_may_change(
    config: TrainingConfig, other_language: Path
) -> None:
    train(config)
    other = replace(
        config,
        data=(Path("elsewhere"),),
        learning_rate=2e-3,
        seed=1,
        start=config.output / "checkpoint.pt",
        language=other_language,
    )
    with pytest.raises(UserError, match=r"checkpoint\.pt: was trained with other") as refusal:
        Trainer(other, tabletop_small())
    for difference in (
        f"data is elsewhere, was {config.data[0]}",
        "learning_rate is 0.002, was 0.001",
        "seed is 1, was 0",
        f"start is {other.start}, was none",
        "tokenizer.json is ",
        "another --output",
    ):
        assert difference in str(refusal.value)
    assert "language.onnx" not in str(refusal.value)
    longer = replace(config, steps=4, checkpoint_every=2)
    assert len(list(Trainer(longer, tabletop_small()).run())) == 1


def test_a_checkpoint_of_before_all_this_was_kept_goes_on(config: TrainingConfig) -> None:
    path = train(config).checkpoint_path
    old = read_checkpoint(path)
    settings = json.loads(old["training"])
    old["training"] = json.dumps(
        {key: settings[key] for key in settings if "sha256" not in key and "." not in key}
    )
    del old["random"]
    torch.save(old, path)
    assert len(list(Trainer(replace(config, steps=4), tabletop_small()).run())) == 1


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
    other = beside(config, "other")
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
    further = replace(beside(config, "further"), start=first.checkpoint_path)
    trainer = Trainer(further, tabletop_small())
    assert trainer.step == 0
    for key, value in trainer.networks.state_dict().items():
        torch.testing.assert_close(value, first.average[key])
    trainer.save()
    parent = json.loads(read_checkpoint(trainer.checkpoint_path)["training"])["start_sha256"]
    assert parent == hashlib.sha256(first.checkpoint_path.read_bytes()).hexdigest()

    assert len(list(Trainer(replace(config, steps=4), tabletop_small()).run())) == 1
    with pytest.raises(UserError, match=rf"start_sha256 is \w{{12}}…, was {parent[:12]}…"):
        Trainer(further, tabletop_small())


def test_a_run_does_not_go_on_with_another_fusion(config: TrainingConfig) -> None:
    Trainer(config, tabletop_small()).save()
    other = with_fusion(tabletop_small(), "projector")
    with pytest.raises(UserError, match="another policy: fusion is projector, was early"):
        Trainer(config, other)
    fresh = beside(config, "other")
    trainer = Trainer(replace(fresh, start=config.output / "checkpoint.pt"), other)
    assert any(name.startswith("policy.fusion.project") for name in trainer.fresh)
    assert not any(name.startswith(("policy.vision", "policy.head")) for name in trainer.fresh)
    assert len(list(trainer.run())) == fresh.steps


def test_a_further_round_starts_from_a_bundle(
    config: TrainingConfig, untrained_bundle: Path
) -> None:
    trainer = Trainer(replace(config, start=untrained_bundle), tabletop_small())
    weights = load_file(untrained_bundle / "policy.safetensors")
    for key, value in trainer.policy.state_dict().items():
        torch.testing.assert_close(value, weights[key])
    assert trainer.fresh
    assert all(name.startswith("classifier.") for name in trainer.fresh)


def test_a_start_that_is_neither_checkpoint_nor_bundle_is_refused(
    config: TrainingConfig, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"none.pt: no such file; --start takes a checkpoint"):
        replace(config, start=tmp_path / "none.pt")
    with pytest.raises(UserError, match=r"bundle.json: is missing; name a bundle directory"):
        Trainer(replace(config, start=tmp_path), tabletop_small())


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
    config: TrainingConfig,
) -> None:
    old = without(config, "states/command", name="old")
    with pytest.raises(UserError, match=r"collected without commands.*--eyes-only"):
        Demonstrations.load((old,))
    assert not Demonstrations.load(config.data, (old,)).meta["imitate"].all()


@pytest.mark.parametrize("name", ["pointing", "matching", "contrast", "masked"])
@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_would_leave_a_loss_out_unsaid_is_refused(
    config: TrainingConfig, name: str, weight: float
) -> None:
    changed: dict[str, Any] = {name: weight}
    with pytest.raises(UserError, match=f"{name} is {weight}; expected 0 or more"):
        replace(config, **changed)


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


def test_data_without_rendered_states_trains_the_hand_alone(config: TrainingConfig) -> None:
    bare = replace(config, data=(without(config, "images/", name="bare"),))
    with pytest.raises(UserError, match=r"images is 2, but no state in .*bare is rendered; .*0 "):
        Trainer(bare, tabletop_small())
    assert set(train(replace(bare, images=0)).run()) == set()


def test_stills_alone_are_refused_as_nothing_to_imitate(
    config: TrainingConfig, tmp_path: Path
) -> None:
    stills = CollectionConfig(directory=tmp_path / "stills", episodes=1, stills=1)
    assert list(collect(stills, workers=1)) == [(1, 0)]
    with pytest.raises(UserError, match="stills: hold nothing to imitate"):
        Trainer(replace(config, data=(stills.directory,)), tabletop_small())
    trainer = Trainer(replace(config, data=(*config.data, stills.directory)), tabletop_small())
    with_stills = trainer.policy.state_mean.clone()
    alone = Trainer(config, tabletop_small()).policy.state_mean
    torch.testing.assert_close(with_stills, alone, msg="stills are no motion")


@pytest.mark.parametrize(
    ("capabilities", "error", "precision"),
    [
        ({"avx512_f": True, "avx512_bf16": False}, 0.004, "float32, since this CPU has no "),
        ({"avx512_bf16": True}, 1.3, "float32, since gradients in bfloat16 are wrong by 1.3 "),
        ({"avx512_bf16": True}, math.nan, "float32, since gradients in bfloat16 are wrong by nan"),
        ({"amx_bf16": True}, 0.004, "bfloat16"),
        ({"neon": True, "bf16": True}, 0.004, "bfloat16"),
    ],
)
def test_images_are_seen_in_bfloat16_only_where_the_cpu_has_it_and_it_is_right(
    config: TrainingConfig,
    monkeypatch: pytest.MonkeyPatch,
    capabilities: dict[str, bool],
    error: float,
    precision: str,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr("vla_ros.learning.precision.gradient_error", lambda: error)
    trainer = Trainer(config, tabletop_small())
    assert trainer.precision.startswith(precision)
    seen: set[torch.dtype] = set()
    map_of = trainer.policy.map_of

    def keep_type(*args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        features, depth = map_of(*args)
        seen.add(features.dtype)
        return features, depth

    monkeypatch.setattr(trainer.policy, "map_of", keep_type)
    terms = trainer._losses()  # without the gradients, which this CPU may get wrong in bfloat16
    assert all(math.isfinite(float(value.detach())) for value, _ in terms.values())
    assert (torch.bfloat16 in seen) == (precision == "bfloat16")


def test_gradients_are_measured_without_a_draw_from_the_runs_generator() -> None:
    before = torch.get_rng_state()
    assert gradient_error() > 0.0 or math.isnan(gradient_error())
    assert torch.get_rng_state().equal(before)
