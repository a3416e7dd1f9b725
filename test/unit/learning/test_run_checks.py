"""What cannot be learned from is refused before training, and what is no number never kept."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from vla_ros.core.errors import UserError
from vla_ros.learning.checkpoints import read_checkpoint
from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.recipes import tabletop_small
from vla_ros.learning.run_checks import require_data
from vla_ros.learning.training import NonFiniteLoss, Trainer
from vla_ros.learning.training_config import TrainingConfig


def test_demonstrations_of_another_shape_are_refused_with_both_sides(
    config: TrainingConfig,
) -> None:
    data = Demonstrations.load(config.data, horizon=10)
    policy = tabletop_small()
    require_data(data, config, policy)
    front = replace(policy.cameras["front"], width=64, height=48)
    other = replace(policy, horizon=12, imu_window=8, cameras={**policy.cameras, "front": front})
    with pytest.raises(UserError) as refusal:
        require_data(data, config, other)
    said = str(refusal.value)
    size = policy.cameras["front"].width
    assert said.startswith(f"{config.data[0]}: do not fit the policy: horizon is 12 in the policy")
    for difference in (
        "horizon is 12 in the policy and 10 in the demonstrations",
        "imu_window is 8 in the policy and 20 in the demonstrations",
        f"the image of front is 64 x 48 in the policy and {size} x {size} in the demonstrations",
    ):
        assert difference in said
    require_data(data, replace(config, images=0), replace(policy, cameras=other.cameras))


def test_a_gradient_that_is_not_finite_changes_no_weight(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(config, tabletop_small())
    losses = trainer.run()
    next(losses)
    before = {key: value.clone() for key, value in trainer.networks.named_parameters()}
    backward = trainer.group.backward

    def overflow(loss: torch.Tensor) -> None:
        backward(loss)
        gradient = trainer.policy.gripper_query.grad
        assert gradient is not None
        gradient.fill_(math.inf)

    monkeypatch.setattr(trainer.group, "backward", overflow)
    with pytest.raises(NonFiniteLoss, match=r"step 1: the gradient of this batch is not finite"):
        next(losses)
    assert all(value.equal(before[key]) for key, value in trainer.networks.named_parameters())
    assert read_checkpoint(trainer.checkpoint_path)["step"] == 1


def test_weights_that_are_not_finite_are_not_saved_over_good_ones(config: TrainingConfig) -> None:
    trainer = Trainer(config, tabletop_small())
    trainer.save()
    good = trainer.checkpoint_path.read_bytes()
    buffers = dict(trainer.networks.named_buffers())
    name = next(key for key in buffers if key.endswith("running_var"))
    buffers[name].fill_(math.inf)  # a loss can be finite all the same
    with pytest.raises(NonFiniteLoss, match=rf"step 0: not finite: {name}; the last good check"):
        trainer.save()
    assert trainer.checkpoint_path.read_bytes() == good
    assert not list(config.output.glob("*.partial"))


def test_a_checkpoint_with_other_weights_is_refused_with_both_sides(
    config: TrainingConfig,
) -> None:
    trainer = Trainer(config, tabletop_small())
    trainer.save()
    saved: dict[str, Any] = read_checkpoint(trainer.checkpoint_path)
    del saved["networks"]["policy.gripper_query"]
    saved["networks"]["policy.slot_type"] = torch.zeros(2, 3)
    torch.save(saved, trainer.checkpoint_path)
    with pytest.raises(UserError) as refusal:
        Trainer(config, tabletop_small())
    for part in (
        "checkpoint.pt: has the weights of another architecture: it lacks policy.gripper_query; ",
        "policy.slot_type is (4, 128), was (2, 3)",
        "another --output",
    ):
        assert part in str(refusal.value)
