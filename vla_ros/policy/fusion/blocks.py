"""Layers that the fusions are built of: pre-norm attention to oneself or to others."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vla_ros.policy.fusion.streams import Stream


class Attention(nn.Module):
    """Tokens ask other tokens, and add what they hear; without others, they ask one another."""

    def __init__(self, width: int, heads: int) -> None:
        """Build pre-norm multi-head attention with a residual path."""
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, tokens: Tensor, others: Stream, causal: Tensor | None = None) -> Tensor:
        """Return `tokens` (B, T, W) after they have asked `others`.

        Args:
            tokens: Who asks.
            others: Who is asked; one token at least must be there.
            causal: (T, S), true where a token must not look; None for nowhere.
        """
        heard, _ = self.attention(
            self.norm(tokens),
            self.norm(others.tokens),
            self.norm(others.tokens),
            key_padding_mask=others.mask < 0.5,
            attn_mask=causal,
            need_weights=False,
        )
        return torch.as_tensor(tokens + heard)


class FeedForward(nn.Module):
    """Each token by itself: two linear layers with a residual path."""

    def __init__(self, width: int, hidden: int) -> None:
        """Build the pre-norm layers."""
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return `tokens` (..., W) with what the layers add."""
        return torch.as_tensor(tokens + self.body(tokens))


class SelfLayer(nn.Module):
    """A transformer layer: tokens of one stream ask one another."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        """Build attention and feed-forward."""
        super().__init__()
        self.attention = Attention(width, heads)
        self.feedforward = FeedForward(width, feedforward)

    def forward(self, stream: Stream, causal: Tensor | None = None) -> Stream:
        """Return the stream after the layer; its mask stays."""
        tokens = self.feedforward(self.attention(stream.tokens, stream, causal))
        return Stream(tokens, stream.mask)


class CrossLayer(nn.Module):
    """A transformer layer: tokens of one stream ask another stream."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        """Build attention and feed-forward."""
        super().__init__()
        self.attention = Attention(width, heads)
        self.feedforward = FeedForward(width, feedforward)

    def forward(self, stream: Stream, others: Stream) -> Stream:
        """Return the stream after it has asked `others`; its mask stays."""
        tokens = self.feedforward(self.attention(stream.tokens, others))
        return Stream(tokens, stream.mask)


class Readout(nn.Module):
    """One learned token that goes ahead of a stream and collects what is in it."""

    def __init__(self, width: int) -> None:
        """Make the token."""
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.1)

    def ahead_of(self, stream: Stream) -> Stream:
        """Return the stream with the token, which is always there, before its first."""
        token = self.token.expand(stream.tokens.shape[0], -1, -1)
        return Stream(
            torch.cat([token, stream.tokens], 1),
            torch.cat([torch.ones_like(stream.mask[:, :1]), stream.mask], 1),
        )
