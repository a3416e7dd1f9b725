"""From token features to what the policy needs of a sentence: skill, object, target."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SLOTS = ("skill", "object", "target", "direction")


class LanguageSlots(nn.Module):
    """A small transformer over the frozen encoder's tokens, read out by one query per slot.

    Token features keep which colour goes with which noun; a pooled sentence blurs it.
    """

    def __init__(
        self, features: int, width: int, heads: int, layers: int = 2, slots: int = len(SLOTS)
    ) -> None:
        """Build the reader for token features of the given width."""
        super().__init__()
        self.project = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.1, batch_first=True, norm_first=True
        )
        self.mix = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.queries = nn.Parameter(torch.randn(slots, width) * 0.3)
        self.read = nn.MultiheadAttention(width, heads, batch_first=True)
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the slots (B, S, width) of tokens (B, L, features); `mask` (B, L): 1 is word."""
        pad = mask < 0.5
        mixed = self.mix(self.project(tokens), src_key_padding_mask=pad)
        queries = self.queries.expand(tokens.shape[0], -1, -1)
        slots, _ = self.read(queries, mixed, mixed, key_padding_mask=pad, need_weights=False)
        refined: Tensor = self.out(slots + queries)
        return refined
