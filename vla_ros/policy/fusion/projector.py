"""Projector: what is sensed becomes a prefix of words for a causal decoder (LLaVA)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from vla_ros.policy.fusion.blocks import SelfLayer
from vla_ros.policy.fusion.streams import STREAMS, Fused, Fusion, Stream, join, single

SENSED = tuple(name for name in STREAMS if name != "language")


class ProjectorFusion(Fusion):
    """A two-layer projector into the space of words, then a causal transformer.

    LLaVA (Liu et al. 2023; the two-layer projector is that of LLaVA-1.5). What is sensed comes
    first, the instruction behind it, and the action is decided at the last place, as the next
    word would be. Scaled down to a decoder of `layers` layers that is trained with the rest.
    """

    def __init__(self, width: int, heads: int, layers: int, feedforward: int) -> None:
        """Build projector and decoder."""
        super().__init__(width, heads, layers, feedforward)
        self.project = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.begin = nn.Parameter(torch.randn(1, 1, width) * 0.1)
        self.answer = nn.Parameter(torch.randn(1, 1, width) * 0.1)
        self.layers = nn.ModuleList(SelfLayer(width, heads, feedforward) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, streams: Mapping[str, Stream]) -> Fused:
        """Read what is sensed, then the instruction, then answer."""
        sensed, words = join(streams, SENSED), streams["language"]
        batch = words.tokens.shape[0]
        # the first place is always there: no place looks at nothing
        begin, answer = (token.expand(batch, -1, -1) for token in (self.begin, self.answer))
        known = torch.ones_like(words.mask[:, :1])
        tokens = torch.cat([begin, self.project(sensed.tokens), words.tokens, answer], 1)
        stream = Stream(tokens, torch.cat([known, sensed.mask, words.mask, known], 1))
        length = tokens.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        for layer in self.layers:
            stream = layer(stream, causal)
        return single(self.norm(stream.tokens[:, -1]))
