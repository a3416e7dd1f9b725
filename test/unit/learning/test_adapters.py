"""Adapters: they alone learn, they are resumed, and merged they are an ordinary policy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vla_ros.core.errors import UserError
from vla_ros.learning.adapters import adapt, merge, trained_parameters
from vla_ros.learning.checkpoints import policy_from_checkpoint, read_checkpoint
from vla_ros.learning.recipes import tabletop_small, with_fusion
from vla_ros.learning.training import Trainer
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.deployed import (
    Deployed,
    DeployedGrounding,
    example_ground_inputs,
    example_inputs,
)
from vla_ros.policy.fusion import FUSIONS
from vla_ros.policy.model import Policy

TARGETS = ("fusion", "language", "grounder")
RANK = 4


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stir(policy: nn.Module) -> None:
    """Let adapters add something, as after training."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in policy.named_parameters():
            if "lora_B" in name:
                value.copy_(0.05 * torch.randn(value.shape, generator=draw))


@torch.no_grad()
def answers(policy: Policy) -> tuple[Tensor, ...]:
    """What both graphs of a bundle give."""
    config = policy.config
    acted = Deployed(policy)(*example_inputs(config))
    grounded = DeployedGrounding(policy)(*example_ground_inputs(config))
    return (*acted, *grounded)


def far(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_merged_is_adapted_to_1e_5_and_has_an_ordinary_policys_weights(fusion: str) -> None:
    torch.manual_seed(0)
    policy = Policy(with_fusion(tabletop_small(), fusion)).eval()
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    trained = answers(policy)
    adapt(policy, RANK, TARGETS)
    assert far(answers(policy), trained) < 1e-6, "adapters begin at nothing"
    stir(policy)
    adapted = answers(policy)
    assert far(adapted, trained) > 1e-3
    merge(policy, TARGETS)
    ordinary = Policy(policy.config).eval()
    ordinary.load_state_dict(policy.state_dict())
    assert far(answers(ordinary), adapted) <= 1e-5
    changed = {n for n, v in ordinary.state_dict().items() if (v - before[n]).abs().max() > 1e-5}
    assert {name.split(".")[0] for name in changed} == set(TARGETS)


def test_adapters_count_in_evaluation_mode_with_and_without_gradients() -> None:
    torch.manual_seed(0)
    policy = Policy(tabletop_small()).eval()
    adapt(policy, RANK, TARGETS)
    stir(policy)
    words, mask = torch.randn(2, 7, 384), torch.ones(2, 7)
    with torch.no_grad():
        fused = policy.language(words, mask)
    torch.testing.assert_close(policy.language(words, mask), fused, atol=1e-6, rtol=0)


def test_adapters_alone_learn_and_few_they_are() -> None:
    policy = Policy(tabletop_small())
    everything = trained_parameters(policy)
    still = adapt(policy, 8, TARGETS)
    learned = {name for name, value in policy.named_parameters() if value.requires_grad}
    assert all("lora_" in name and name.startswith(TARGETS) for name in learned)
    assert 0.03 < trained_parameters(policy) / everything < 0.1
    policy.train()
    for module in still:
        module.eval()
    assert not any(part.training for part in policy.vision.modules())
    assert not any(part.training for part in policy.head.modules())
    assert policy.fusion.training
    assert policy.grounder.training


def test_a_part_of_a_part_can_adapt_alone() -> None:
    policy = Policy(tabletop_small())
    still = adapt(policy, RANK, ("grounder.read",))
    learned = [name for name, value in policy.named_parameters() if value.requires_grad]
    assert learned
    assert all(name.startswith("grounder.read.") for name in learned)
    assert policy.grounder.fusion in still
    assert policy.grounder.read not in still
    assert policy.grounder not in still


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (
            ("fusoin",),
            r"has no part 'fusoin'; it has .*fusion, .*such as grounder\.read",
        ),
        (("kinematics",), "kinematics have no linear layers to adapt"),
    ],
)
def test_parts_that_cannot_adapt_are_named(targets: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        adapt(Policy(tabletop_small()), RANK, targets)


@pytest.fixture
def lora(config: TrainingConfig, untrained_bundle: Path) -> TrainingConfig:
    return replace(config, start=untrained_bundle, lora_rank=RANK)


def test_a_run_trains_adapters_is_resumed_and_its_checkpoint_is_a_policy(
    lora: TrainingConfig,
) -> None:
    trainer = Trainer(lora, tabletop_small())
    before = {name: value.clone() for name, value in trainer.networks.named_parameters()}
    next(trainer.run())
    resumed = Trainer(lora, tabletop_small())
    assert resumed.step == 1
    assert len(list(resumed.run())) == 2
    after = dict(resumed.networks.named_parameters())
    changed = {n for n, v in after.items() if (v - before[n]).abs().max() > 1e-6}
    assert changed
    assert all("lora_" in name or name.startswith("classifier.") for name in changed)
    (group,) = read_checkpoint(resumed.checkpoint_path)["optimizer"]["param_groups"]
    assert len(group["params"]) == sum(value.requires_grad for value in after.values())

    merged = policy_from_checkpoint(resumed.checkpoint_path)
    assert set(merged.state_dict()) == set(Policy(tabletop_small()).state_dict())
    adapted = resumed.policy.eval()
    adapted.load_state_dict(
        {k.removeprefix("policy."): v for k, v in resumed.average.items() if "policy." in k}
    )
    assert far(answers(merged), answers(adapted)) <= 1e-5


def test_a_further_round_starts_from_merged_adapters(lora: TrainingConfig) -> None:
    first = Trainer(replace(lora, steps=1), tabletop_small())
    assert len(list(first.run())) == 1
    output = lora.output.with_name("further")
    output.mkdir()
    (output / "sentences.npz").hardlink_to(lora.output / "sentences.npz")
    further = Trainer(
        replace(lora, output=output, start=first.checkpoint_path, lora_rank=0), tabletop_small()
    )
    merged = policy_from_checkpoint(first.checkpoint_path)
    for name, value in further.policy.state_dict().items():
        torch.testing.assert_close(value, merged.state_dict()[name])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lora_rank": 4}, "lora_rank is 4 and start names nothing; adapters adapt parts of a tr"),
        ({"lora_rank": -1}, "lora_rank is -1; expected 0 or more"),
        ({"lora_rank": 2, "start": Path(__file__), "lora_targets": ()}, "lora_targets names not"),
    ],
)
def test_what_adapters_need_is_said_before_anything_is_read(
    config: TrainingConfig, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        replace(config, **changes)  # type: ignore[arg-type]
