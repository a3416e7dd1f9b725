"""Every fusion: conformance, an equal share of parameters, and the policies built with it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vla_ros.core.errors import UserError
from vla_ros.learning.recipes import tabletop_small, with_fusion
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.deployed import Deployed, example_inputs
from vla_ros.policy.fusion import (
    FUSIONS,
    CoAttentionFusion,
    CrossModalityFusion,
    EarlyFusion,
    Fusion,
    GatedCrossAttentionFusion,
    HybridFusion,
    LateFusion,
    ProjectorFusion,
    Stream,
    find_fusion,
)
from vla_ros.policy.model import Policy
from vla_ros.testing.fusion_conformance import WIDTH, FusionConformance, make_streams


class TestEarly(FusionConformance):
    def make_fusion(self, width: int) -> Fusion:
        return EarlyFusion(width, 4, 2, 48)


class TestLate(FusionConformance):
    def make_fusion(self, width: int) -> Fusion:
        return LateFusion(width, 4, 2, 48)


class TestHybrid(FusionConformance):
    def make_fusion(self, width: int) -> Fusion:
        return HybridFusion(width, 4, 2, 48)


class TestCoAttention(FusionConformance):
    def make_fusion(self, width: int) -> Fusion:
        return CoAttentionFusion(width, 4, 2, 48)


class TestCrossModality(FusionConformance):
    def make_fusion(self, width: int) -> Fusion:
        return CrossModalityFusion(width, 4, 2, 48)


class TestGatedCrossAttention(FusionConformance):
    def make_fusion(self, width: int) -> Fusion:
        return GatedCrossAttentionFusion(width, 4, 2, 48)


class TestProjector(FusionConformance):
    def make_fusion(self, width: int) -> Fusion:
        return ProjectorFusion(width, 4, 2, 48)


@pytest.mark.parametrize("name", FUSIONS)
def test_every_fusion_gets_as_many_parameters_and_makes_a_policy(name: str) -> None:
    config = with_fusion(tabletop_small(), name)
    torch.manual_seed(0)
    policy, shipped = Policy(config), Policy(tabletop_small())
    counts = [sum(value.numel() for value in p.fusion.parameters()) for p in (policy, shipped)]
    assert counts[0] == pytest.approx(counts[1], rel=0.01)
    assert config.layers >= find_fusion(name).least_layers
    assert PolicyConfig.from_dict(config.to_dict()) == config
    with torch.no_grad():
        chunk, progress, *_ = Deployed(policy).eval()(*example_inputs(config))
    assert chunk.shape == (1, config.horizon, config.n_joints)
    assert torch.isfinite(chunk).all()
    assert 0.0 <= float(progress) <= 1.0


def second_difference(name: str) -> Tensor:
    """How much of what vision does to the decision depends on what was said."""
    config = with_fusion(tabletop_small(), name)
    torch.manual_seed(0)
    fusion = find_fusion(name)(WIDTH, 4, config.layers, 48).eval()
    with torch.no_grad():
        for value in fusion.parameters():
            value.add_(0.1 * torch.randn_like(value))
    one, other = make_streams(0), make_streams(1)

    def decided(said: dict[str, Stream], seen: dict[str, Stream]) -> Tensor:
        sources = dict.fromkeys(("front", "wrist", "memory"), seen)
        fused = fusion({key: sources.get(key, said)[key] for key in one})
        return torch.as_tensor((fused.tokens * fused.weight[..., None]).sum(1))

    with torch.no_grad():
        apart = decided(one, one) - decided(one, other)
        rest = decided(other, one) - decided(other, other)
        return torch.as_tensor((apart - rest).abs().max())


@pytest.mark.parametrize("name", FUSIONS)
def test_with_the_layers_that_are_trained_words_and_vision_meet_in_every_fusion(name: str) -> None:
    assert second_difference(name) > 1e-2


@pytest.mark.parametrize("name", ["hybrid", "cross_modality"])
def test_a_fusion_with_too_few_layers_to_mix_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"with 1 layers would not mix .* it takes 2 or more"):
        find_fusion(name)(WIDTH, 4, 1, 48)


def test_a_closed_gate_lets_nothing_of_the_scene_through() -> None:
    fusion = GatedCrossAttentionFusion(WIDTH, 4, 2, 48).eval()
    streams = make_streams(0)
    before = fusion(streams).tokens
    streams["front"] = make_streams(1)["front"]
    torch.testing.assert_close(fusion(streams).tokens, before)


def test_an_unknown_fusion_lists_what_exists() -> None:
    with pytest.raises(UserError, match="'mid' does not exist; choose one of early, late, hybrid"):
        with_fusion(tabletop_small(), "mid")
