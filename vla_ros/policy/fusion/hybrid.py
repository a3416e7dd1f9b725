"""Hybrid fusion: modalities keep to themselves, but for a few tokens through which they talk."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from vla_ros.policy.fusion.blocks import SelfLayer
from vla_ros.policy.fusion.streams import Fused, Fusion, Stream, join, single

#: Which modalities share a stream: what was said, what is seen, what is felt.
GROUPS = {
    "language": ("language",),
    "vision": ("front", "wrist", "memory"),
    "body": ("state", "imu"),
}
EXCHANGED = 4


class HybridFusion(Fusion):
    """Streams of their own layers that meet in the middle, in shared exchange tokens.

    Attention bottlenecks (Nagrani et al. 2021): in every layer, each stream attends to itself and
    to the exchange tokens; what the streams made of those is averaged. Scaled down to three
    streams and four exchange tokens, which meet in every layer instead of the last ones. What a
    stream writes in one layer the others read in the next.
    """

    least_layers = 2

    def __init__(self, width: int, heads: int, layers: int, feedforward: int) -> None:
        """Build one layer per stream and meeting."""
        super().__init__(width, heads, layers, feedforward)
        self.exchange = nn.Parameter(torch.randn(1, EXCHANGED, width) * 0.1)
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: SelfLayer(width, heads, feedforward) for name in GROUPS})
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, streams: Mapping[str, Stream]) -> Fused:
        """Let the streams talk through the exchange tokens."""
        own = {name: join(streams, members) for name, members in GROUPS.items()}
        there = {
            name: (stream.mask.amax(1) > 0.5).to(stream.tokens.dtype)[:, None, None]
            for name, stream in own.items()
        }
        exchange = self.exchange.expand(own["language"].tokens.shape[0], -1, -1)
        for layer in self.layers:
            written = []
            for name in GROUPS:
                mixed = layer[name](_with(exchange, own[name]))  # type: ignore[index]
                written.append(mixed.tokens[:, :EXCHANGED] * there[name])
                own[name] = Stream(mixed.tokens[:, EXCHANGED:], own[name].mask)
            exchange = torch.stack(written).sum(0) / torch.stack([*there.values()]).sum(0)
        return single(self.norm(exchange.mean(1)))


def _with(exchange: torch.Tensor, stream: Stream) -> Stream:
    """Put the exchange tokens, which are always there, before a stream's own."""
    known = torch.ones_like(exchange[..., 0])
    return Stream(
        torch.cat([exchange, stream.tokens], 1), torch.cat([known, stream.mask.to(known)], 1)
    )
