"""Early fusion: everything is concatenated before anything is mixed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from vla_ros.policy.fusion.streams import Fused, Fusion, Stream, join, single


class EarlyFusion(Fusion):
    """One transformer over the tokens of all modalities, read out by a token of its own.

    The single-stream architecture of UNITER (Chen et al. 2020) and VisualBERT (Li et al. 2019), at
    a hundredth of their size and without their pretraining.
    """

    def __init__(self, width: int, heads: int, layers: int, feedforward: int) -> None:
        """Build pre-norm transformer layers."""
        super().__init__(width, heads, layers, feedforward)
        layer = nn.TransformerEncoderLayer(
            width,
            heads,
            feedforward,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.readout = nn.Parameter(torch.randn(1, 1, width) * 0.1)
        self.norm = nn.LayerNorm(width)

    def forward(self, streams: Mapping[str, Stream]) -> Fused:
        """Let every token attend to every other that is there."""
        tokens, mask = join(streams)
        readout = self.readout.expand(tokens.shape[0], -1, -1)
        everything = torch.cat([readout, tokens], 1)
        missing = torch.cat([torch.zeros_like(mask[:, :1]), 1.0 - mask], 1) > 0.5
        fused = self.layers(everything, src_key_padding_mask=missing)
        return single(self.norm(fused[:, 0]))
