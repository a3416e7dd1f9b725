"""Training with every head: all of it learns, and no run goes on with another one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from vla_ros.core.errors import UserError
from vla_ros.learning.checkpoints import policy_from_checkpoint, read_checkpoint
from vla_ros.learning.recipes import tabletop_small
from vla_ros.learning.training import NonFiniteLoss, Trainer
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.heads import HEADS


@pytest.fixture
def bare(config: TrainingConfig) -> TrainingConfig:
    """One step of the hand alone: the eyes do not depend on the head."""
    return replace(config, steps=1, images=0)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_is_trained_and_becomes_a_policy(bare: TrainingConfig, name: str) -> None:
    architecture = replace(tabletop_small(), head=name)
    trainer = Trainer(bare, architecture)
    head = trainer.policy.head
    assert not head.scale.equal(torch.ones_like(head.scale)), "measured on the demonstrations"
    before = {key: value.clone() for key, value in head.named_parameters()}
    (losses,) = trainer.run()
    assert all(math.isfinite(value) for value in losses.values())
    assert [key for key, value in head.named_parameters() if value.equal(before[key])] == []
    policy = policy_from_checkpoint(trainer.checkpoint_path)
    assert policy.config == architecture
    assert type(policy.head) is HEADS[name]


@pytest.mark.parametrize("name", HEADS)
def test_a_chunk_that_is_no_number_stops_the_run_with_every_head(
    bare: TrainingConfig, name: str
) -> None:
    trainer = Trainer(bare, replace(tabletop_small(), head=name))
    trainer.data.states["chunk"] = trainer.data.states["chunk"] * float("nan")  # type: ignore[operator]
    with pytest.raises(NonFiniteLoss, match=r"step 0: .*state_action=nan"):
        next(trainer.run())


def test_a_run_does_not_go_on_with_another_head(bare: TrainingConfig) -> None:
    Trainer(bare, tabletop_small()).save()
    with pytest.raises(UserError, match="another policy: head is flow, was l1"):
        Trainer(bare, replace(tabletop_small(), head="flow"))


def test_a_run_of_before_there_were_heads_goes_on_with_the_first_one_alone(
    bare: TrainingConfig,
) -> None:
    trainer = Trainer(bare, tabletop_small())
    trainer.save()
    old = read_checkpoint(trainer.checkpoint_path)
    for key in ("head", "flow_steps", "action_bins"):
        del old["policy"][key]
    torch.save(old, trainer.checkpoint_path)
    with pytest.raises(UserError, match="another policy: head is flow, was l1"):
        Trainer(bare, replace(tabletop_small(), head="flow"))
    assert len(list(Trainer(bare, tabletop_small()).run())) == 1


def test_another_head_starts_with_what_all_heads_share(bare: TrainingConfig) -> None:
    first = Trainer(bare, tabletop_small())
    first.save()
    output = bare.output.with_name("other")
    output.mkdir()
    (output / "sentences.npz").hardlink_to(bare.output / "sentences.npz")
    further = replace(bare, output=output, start=first.checkpoint_path)
    trainer = Trainer(further, replace(tabletop_small(), head="flow"))
    assert trainer.fresh
    assert all(name.startswith("policy.head.") for name in trainer.fresh)
    for shared in ("body.0.weight", "progress.bias", "scale"):
        assert f"policy.head.{shared}" not in trainer.fresh
    assert len(list(trainer.run())) == 1
