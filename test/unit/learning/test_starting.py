"""A run begins with another one's weights only where they fit, and says what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vla_ros.core.errors import UserError
from vla_ros.learning.checkpoints import policy_from_checkpoint, read_checkpoint
from vla_ros.learning.recipes import tabletop_small, with_fusion
from vla_ros.learning.starting import CHOICES, begin_from, parts_of
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.encoders import DEPTH_ENCODERS, IMAGE_ENCODERS, IMU_ENCODERS
from vla_ros.policy.fusion import FUSIONS
from vla_ros.policy.heads import HEADS
from vla_ros.policy.model import Policy

SHIPPED = tabletop_small()
ANOTHER = {
    **{f"fusion-{name}": with_fusion(SHIPPED, name) for name in FUSIONS if name != "early"},
    **{f"head-{name}": replace(SHIPPED, head=name) for name in HEADS if name != SHIPPED.head},
    **{
        f"image-{name}": replace(SHIPPED, image_encoder=name)
        for name in IMAGE_ENCODERS
        if name not in (SHIPPED.image_encoder, "pretrained")
    },
    **{
        f"depth-{name}": replace(SHIPPED, depth_encoder=name)
        for name in DEPTH_ENCODERS
        if name not in (SHIPPED.depth_encoder, "points")
    },
    **{f"imu-{name}": replace(SHIPPED, imu_encoder=name) for name in IMU_ENCODERS},
}


def networks(config: PolicyConfig) -> nn.ModuleDict:
    torch.manual_seed(1)
    made = nn.ModuleDict({"policy": Policy(config), "classifier": nn.Linear(3, 3)})
    for name, value in made["policy"].named_buffers():
        if name in ("state_mean", "imu_mean"):
            value += torch.linspace(-1, 1, len(value))
    return made


@pytest.fixture(scope="module")
def shipped() -> nn.ModuleDict:
    """Networks as they are before a run begins; do not write into them."""
    return networks(SHIPPED)


def checkpoint(folder: Path, config: PolicyConfig, weights: dict[str, torch.Tensor]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "checkpoint.pt"
    state: dict[str, Any] = {
        "step": 1,
        "networks": weights,
        "average": weights,
        "optimizer": {},
        "training": "{}",
        "policy": config.to_dict(),
    }
    torch.save(state, path)
    return path


def test_the_same_policy_is_taken_whole(tmp_path: Path, shipped: nn.ModuleDict) -> None:
    own = networks(SHIPPED)
    weights = {
        key: value + 0.5 if value.is_floating_point() else value
        for key, value in shipped.state_dict().items()
    }
    start = checkpoint(tmp_path, SHIPPED, weights)
    assert begin_from(own, SHIPPED, start, partly=False) == []
    for key, value in own.state_dict().items():
        assert value.equal(weights[key]), key


@pytest.mark.parametrize("config", ANOTHER.values(), ids=ANOTHER.keys())
def test_a_part_that_was_chosen_otherwise_begins_anew_and_the_rest_is_taken(
    tmp_path: Path, shipped: nn.ModuleDict, config: PolicyConfig
) -> None:
    weights = shipped.state_dict()
    start = checkpoint(tmp_path, SHIPPED, weights)
    own = networks(config)
    fresh = begin_from(own, config, start, partly=False)
    chosen = [name for name in CHOICES if getattr(config, name) != getattr(SHIPPED, name)]
    allowed = tuple(f"policy.{part}" for name in chosen for part in CHOICES[name].parts)
    statistics = {"policy.head.scale"} if "head" in chosen else set()
    assert all(key.startswith(allowed) for key in set(fresh) - statistics), fresh
    taken = [key for key, value in own.state_dict().items() if key not in fresh]
    assert any(key.startswith("policy.vision") for key in taken) or "vision" in parts_of(fresh)
    for key in taken:
        assert own.state_dict()[key].equal(weights[key]), key


def test_another_width_is_refused_with_both_sides(tmp_path: Path, shipped: nn.ModuleDict) -> None:
    narrow = replace(SHIPPED, width=64, vision_width=40)
    start = checkpoint(tmp_path, narrow, networks(narrow).state_dict())
    own = networks(SHIPPED)
    before = {key: value.clone() for key, value in own.state_dict().items()}
    with pytest.raises(UserError) as refusal:
        begin_from(own, SHIPPED, start, partly=False)
    said = str(refusal.value)
    assert said.startswith(f"{start}: is of another policy: width is 128 and 64; vision_width is")
    assert "policy.gripper_query is (1, 1, 128) and (1, 1, 64)" in said
    assert "more differ in shape (here and there)" in said
    assert "--start-partly" in said
    assert all(value.equal(before[key]) for key, value in own.state_dict().items())


def test_what_fits_is_taken_if_that_is_asked_for(tmp_path: Path, shipped: nn.ModuleDict) -> None:
    narrow = replace(SHIPPED, vision_width=40)
    start = checkpoint(tmp_path, narrow, networks(narrow).state_dict())
    own = networks(SHIPPED)
    fresh = begin_from(own, SHIPPED, start, partly=True)
    assert {"vision", "regions"} >= set(parts_of(fresh))
    assert "fusion" not in parts_of(fresh)


def test_a_policy_of_which_nothing_fits_is_refused_even_then(tmp_path: Path) -> None:
    own = networks(SHIPPED)
    weights = {f"policy.{key}": torch.ones(3) for key in ("body.weight", "body.bias")}
    start = checkpoint(tmp_path, SHIPPED, weights)
    for partly in (False, True):
        with pytest.raises(UserError, match=r"checkpoint.pt: nothing of it fits: it has other "):
            begin_from(own, SHIPPED, start, partly=partly)


def test_a_part_that_the_earlier_run_did_not_have_begins_anew(
    tmp_path: Path, shipped: nn.ModuleDict
) -> None:
    weights = {k: v for k, v in shipped.state_dict().items() if "imu_embed" not in k}
    start = checkpoint(tmp_path, SHIPPED, weights)
    fresh = begin_from(networks(SHIPPED), SHIPPED, start, partly=False)
    assert parts_of(fresh) == ["imu_embed"]


def test_weights_that_are_missing_within_a_part_are_refused(
    tmp_path: Path, shipped: nn.ModuleDict
) -> None:
    weights = dict(shipped.state_dict())
    del weights["policy.head.progress.bias"]
    weights["policy.language.surplus"] = torch.ones(2)
    start = checkpoint(tmp_path, SHIPPED, weights)
    with pytest.raises(UserError) as refusal:
        begin_from(networks(SHIPPED), SHIPPED, start, partly=False)
    assert "only here: policy.head.progress.bias; only there: policy.language.surplus" in str(
        refusal.value
    )


def test_a_size_that_changes_no_shape_is_refused_too(
    tmp_path: Path, shipped: nn.ModuleDict
) -> None:
    start = checkpoint(tmp_path, replace(SHIPPED, heads=8), shipped.state_dict())
    with pytest.raises(UserError, match=r"is of another policy: heads is 4 and 8 \(here"):
        begin_from(networks(SHIPPED), SHIPPED, start, partly=False)


def test_demonstrations_in_other_units_are_refused_with_both_sides(
    tmp_path: Path, shipped: nn.ModuleDict
) -> None:
    start = checkpoint(tmp_path, SHIPPED, shipped.state_dict())
    own = networks(SHIPPED)
    own.get_buffer("policy.state_mean")[4] = 57.0  # degrees
    with pytest.raises(UserError, match=r"value 4 of state is 57 ± 1 in the demonstrations, "):
        begin_from(own, SHIPPED, start, partly=False)
    own = networks(SHIPPED)
    own.get_buffer("policy.imu_std")[2] = 57.0
    with pytest.raises(UserError, match=r"value 2 of imu is .* ± 57 in the demonstrations"):
        begin_from(own, SHIPPED, start, partly=True)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, shipped: nn.ModuleDict) -> None:
    weights = dict(shipped.state_dict())
    weights["policy.slot_type"] = weights["policy.slot_type"] * float("nan")
    start = checkpoint(tmp_path, SHIPPED, weights)
    with pytest.raises(UserError, match=r"holds no finite numbers in policy.slot_type; start fr"):
        begin_from(networks(SHIPPED), SHIPPED, start, partly=True)


def test_a_policy_of_a_later_version_is_named_as_one(
    tmp_path: Path, shipped: nn.ModuleDict
) -> None:
    start = checkpoint(tmp_path, SHIPPED, shipped.state_dict())
    state = read_checkpoint(start)
    state["policy"]["telepathy"] = True
    torch.save(state, start)
    with pytest.raises(UserError, match="is of a policy with telepathy, which this version"):
        begin_from(networks(SHIPPED), SHIPPED, start, partly=True)


def test_a_checkpoint_of_another_architecture_becomes_no_policy(
    tmp_path: Path, shipped: nn.ModuleDict
) -> None:
    weights = dict(shipped.state_dict())
    del weights["policy.gripper_query"]
    start = checkpoint(tmp_path, SHIPPED, weights)
    with pytest.raises(UserError, match=r"has the weights of another architecture: it lacks "):
        policy_from_checkpoint(start)
