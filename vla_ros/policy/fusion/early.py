"""Mix the tokens of all modalities into one."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SelfAttentionFusion(nn.Module):
    """Single-stream fusion: every token attends to every other that is there.

    A masked token changes nothing: neither attention nor the read-out sees it.
    """

    def __init__(self, width: int, heads: int, layers: int) -> None:
        """Build `layers` pre-norm transformer layers."""
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            width,
            heads,
            3 * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.readout = nn.Parameter(torch.randn(1, 1, width) * 0.1)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the fused token (B, width) of tokens (B, T, width); `mask` (B, T): 1 is there."""
        readout = self.readout.expand(tokens.shape[0], -1, -1)
        everything = torch.cat([readout, tokens], 1)
        missing = torch.cat([torch.zeros_like(mask[:, :1]), 1.0 - mask], 1) > 0.5
        fused: Tensor = self.layers(everything, src_key_padding_mask=missing)
        return torch.as_tensor(self.norm(fused[:, 0]))
