"""Gated cross-attention: latents condense the scene for a trunk that opens to it (Flamingo)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vla_ros.policy.fusion.blocks import Attention, CrossLayer, FeedForward, Readout, SelfLayer
from vla_ros.policy.fusion.streams import Fused, Fusion, Stream, join, single

SEEN = ("front", "wrist", "memory", "imu")
LATENTS = 6


class GatedCrossAttentionFusion(Fusion):
    """A Perceiver resampler, and a trunk that reads its latents through tanh gates.

    Flamingo (Alayrac et al. 2022; Jaegle et al. 2021 for the resampler). What is frozen here is
    the sentence encoder in front of the policy, whose slots, with the joint state, go through a
    small trunk; the trunk itself is trained from nothing, as there is no language model of this
    size that it could be taken from. The gates begin closed, as there: at first the trunk alone
    decides. Scaled down to six latents, one resampler layer, and a gate in every layer.
    """

    def __init__(self, width: int, heads: int, layers: int, feedforward: int) -> None:
        """Build resampler, gated layers and trunk."""
        super().__init__(width, heads, layers, feedforward)
        self.latents = nn.Parameter(torch.randn(1, LATENTS, width) * 0.1)
        self.resample = CrossLayer(width, heads, feedforward)
        self.readout = Readout(width)
        self.gated = nn.ModuleList(_Gated(width, heads, feedforward) for _ in range(layers))
        self.trunk = nn.ModuleList(SelfLayer(width, heads, feedforward) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, streams: Mapping[str, Stream]) -> Fused:
        """Condense what is seen, then let the trunk read it."""
        words = self.readout.ahead_of(join(streams, ("language", "state")))
        latents = self.latents.expand(words.tokens.shape[0], -1, -1)
        known = Stream(latents, torch.ones_like(latents[..., 0]))
        # as in the Perceiver of Flamingo, the latents ask the scene and themselves at once
        scene = self.resample(known, _beside(join(streams, SEEN), known))
        tokens = words.tokens
        for gated, layer in zip(self.gated, self.trunk, strict=True):
            tokens = layer(Stream(gated(tokens, scene), words.mask)).tokens
        return single(self.norm(tokens[:, 0]))


class _Gated(nn.Module):
    """Cross-attention and feed-forward, each behind a gate that begins closed."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.feedforward = FeedForward(width, feedforward)
        self.attention_gate = nn.Parameter(torch.zeros(1))
        self.feedforward_gate = nn.Parameter(torch.zeros(1))

    def forward(self, tokens: Tensor, scene: Stream) -> Tensor:
        heard = self.attention(tokens, scene) - tokens
        tokens = tokens + torch.tanh(self.attention_gate) * heard
        thought = self.feedforward(tokens) - tokens
        return torch.as_tensor(tokens + torch.tanh(self.feedforward_gate) * thought)


def _beside(one: Stream, other: Stream) -> Stream:
    return Stream(torch.cat([one.tokens, other.tokens], 1), torch.cat([one.mask, other.mask], 1))
