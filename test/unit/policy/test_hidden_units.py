"""Hidden units: removing those that do nothing changes nothing, and the graph gets smaller."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from vla_ros.core.errors import UserError
from vla_ros.learning.recipes import tabletop_small, with_fusion
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.deployed import Deployed, example_inputs
from vla_ros.policy.encoders import DEPTH_ENCODERS, IMAGE_ENCODERS, IMU_ENCODERS
from vla_ros.policy.export import export_graph, parity
from vla_ros.policy.fusion import FUSIONS
from vla_ros.policy.heads import HEADS
from vla_ros.policy.hidden_units import hidden_units, resize
from vla_ros.policy.model import Policy

SMALL = replace(
    tabletop_small(), width=32, layers=1, feedforward=48, vision_width=16, depth_encoder="own"
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def halves(policy: nn.Module) -> dict[str, int]:
    return {name: max(1, units.count // 2) for name, units in hidden_units(policy).items()}


def parameters(policy: nn.Module) -> int:
    return sum(value.numel() for value in policy.parameters())


def test_the_units_of_every_kind_of_layer_are_found() -> None:
    found = {name: units.count for name, units in hidden_units(Policy(tabletop_small())).items()}
    for name, count in (
        ("fusion.layers.layers.2.linear1", 384),
        ("grounder.read.mix.layers.0.linear1", 256),
        ("vision.front.trunk.0", 24),
        ("vision.front.trunk.10.body.0", 56),
        ("vision.wrist.query.0", 128),
        ("head.body.0", 384),
        ("imu_embed.0", 32),
        ("place_embed.anchor_target.0", 128),
        ("regions.look.0", 64),
    ):
        assert found[name] == count, name
    assert "vision.front.trunk.6" not in found, "the residual blocks share its channels"


@torch.no_grad()
def test_removing_units_that_are_silent_changes_nothing() -> None:
    torch.manual_seed(0)
    policy = Policy(SMALL).eval()
    for norm in (m for m in policy.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    draw = torch.Generator().manual_seed(1)
    chosen = {}
    for name, units in hidden_units(policy).items():
        order = torch.randperm(units.count, generator=draw)
        chosen[name], silent = order[: units.count // 2].sort().values, order[units.count // 2 :]
        units.reads.weight[:, silent] = 0.0
    before, inputs = parameters(policy), example_inputs(SMALL)
    expected = Deployed(policy)(*inputs)
    for name, units in hidden_units(policy).items():
        units.keep(chosen[name])
    assert parameters(policy) < 0.8 * before
    for found, wanted in zip(Deployed(policy)(*inputs), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_a_configuration_keeps_the_sizes_and_its_policy_takes_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    policy = Policy(SMALL).eval()
    sizes = halves(policy)
    for name, units in hidden_units(policy).items():
        units.keep(torch.arange(units.count)[-sizes[name] :])
    config = PolicyConfig.from_dict(replace(SMALL, pruned=sizes).to_dict())
    again = Policy(config).eval()
    again.load_state_dict(policy.state_dict())
    assert halves(again) == {name: max(1, size // 2) for name, size in sizes.items()}

    whole, small = tmp_path / "whole.onnx", tmp_path / "small.onnx"
    export_graph(Policy(SMALL), whole)
    export_graph(again, small)
    weights = [
        sum(len(tensor.raw_data) for tensor in onnx.load(path).graph.initializer)
        for path in (whole, small)
    ]
    assert weights[1] < 0.8 * weights[0], "the graph's own tensors are smaller"
    assert parity(Deployed(again), small, example_inputs(SMALL, seed=3))[1] < 1e-4


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("head", HEADS)
def test_every_fusion_and_head_has_hidden_units_to_lose(fusion: str, head: str) -> None:
    config = replace(with_fusion(SMALL, fusion), head=head)
    policy = Policy(config)
    sizes = halves(policy)
    assert any(name.startswith("fusion.") for name in sizes)
    assert any(name.startswith("head.") for name in sizes)
    before = parameters(policy)
    resize(policy, sizes)
    assert parameters(policy) < before
    chunk = Deployed(policy.eval())(*example_inputs(config))[0]
    assert chunk.shape == (1, config.horizon, config.n_joints)


@pytest.mark.parametrize("image", sorted({*IMAGE_ENCODERS} - {"pretrained"}))
@pytest.mark.parametrize("imu", IMU_ENCODERS)
@pytest.mark.parametrize("depth", sorted({*DEPTH_ENCODERS} - {"points"}))
def test_every_encoder_still_runs_with_half_its_units(image: str, imu: str, depth: str) -> None:
    config = replace(SMALL, image_encoder=image, imu_encoder=imu, depth_encoder=depth)
    policy = Policy(config)
    resize(policy, halves(policy))
    chunk = Deployed(policy.eval())(*example_inputs(config))[0]
    assert torch.isfinite(chunk).all()


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"fusion.nothing": 3}, "3 hidden units of fusion.nothing .* has none of that name"),
        ({"head.body.0": 97}, "97 hidden units of head.body.0 are to be left, .* has 96 there"),
        ({"head.body.0": 0}, "0 hidden units of head.body.0"),
    ],
)
def test_sizes_that_do_not_fit_the_architecture_are_refused(
    sizes: dict[str, int], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        Policy(replace(SMALL, pruned=sizes))
