"""Models with the shapes of SmolVLA or π0 and random weights: latency does not depend on weights.

Left out is what costs no time worth naming: the tokenizer and the table of token embeddings
(tokens come in embedded), positions of the vision tower, the norms' offsets.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from vla_shapes import VlaShape


class VisionLanguageAction(nn.Module):
    """Observation and noise in, a chunk of actions out; computes in the type of its weights."""

    def __init__(self, shape: VlaShape) -> None:
        super().__init__()
        self.shape = shape
        vision = shape.vision
        self.patches = nn.Conv2d(3, vision.width, vision.patch, vision.patch)
        self.tower = nn.ModuleList(
            nn.TransformerEncoderLayer(
                vision.width,
                vision.heads,
                vision.mlp,
                0.0,
                F.gelu,
                batch_first=True,
                norm_first=True,
            )
            for _ in range(vision.layers)
        )
        self.connector = nn.Linear(vision.width * vision.shuffle**2, shape.width, bias=False)
        state_width = shape.width if shape.state_in_prefix else shape.expert_width
        self.state = nn.Linear(shape.action, state_width)
        self.text = nn.ModuleList(
            _Layer(shape, shape.width, shape.mlp) for _ in range(shape.layers)
        )
        self.expert = nn.ModuleList(
            _Layer(
                shape,
                shape.expert_width,
                shape.expert_mlp,
                cross=shape.cross_every_second and index % 2 == 1,
            )
            for index in range(shape.layers)
        )
        self.action_in = nn.Linear(shape.action, shape.expert_width)
        self.time_in = nn.Linear(2 * shape.expert_width, shape.expert_width)
        self.time_out = nn.Linear(shape.expert_width, shape.expert_width)
        self.norm = nn.RMSNorm(shape.expert_width)
        self.action_out = nn.Linear(shape.expert_width, shape.action)

    def forward(self, images: Tensor, language: Tensor, state: Tensor, noise: Tensor) -> Tensor:
        """Return the chunk (1, T, A) of one robot.

        Args:
            images: From -1 to 1, shape (1, cameras, 3, side, side).
            language: Embedded tokens, shape (1, words, width).
            state: Shape (1, A).
            noise: Shape (1, T, A).
        """
        dtype = self.action_out.weight.dtype
        state, actions = state.to(dtype), noise.to(dtype)
        cache = self.fill_cache(images.to(dtype), language.to(dtype), state)
        for step in range(self.shape.steps):
            time = 1.0 - step / self.shape.steps
            actions = actions - self.denoise(cache, state, actions, time) / self.shape.steps
        return actions.float()

    def fill_cache(
        self, images: Tensor, language: Tensor, state: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """Return keys and values of every text layer, (1, kv_heads, N, head_width) each."""
        seen = self.patches(images[0]).flatten(2).transpose(1, 2)  # (cameras, P, W)
        for layer in self.tower:
            seen = layer(seen)
        seen = self.connector(self._shuffled(seen)).reshape(1, -1, self.shape.width)
        parts = [seen, language]
        if self.shape.state_in_prefix:
            parts.append(self.state(state)[:, None])
        tokens = torch.cat(parts, 1)  # (1, N, W)
        cache = []
        for layer in self.text:
            tokens, kept = layer(tokens, None, 0)
            cache.append(kept)
        return cache

    def denoise(
        self, cache: list[tuple[Tensor, Tensor]], state: Tensor, actions: Tensor, time: float
    ) -> Tensor:
        """Return the velocity (1, T, A) at a time between 1 (noise) and 0."""
        width = self.shape.expert_width
        periods = torch.logspace(
            math.log10(4e-3), math.log10(4.0), width // 2, device=actions.device
        )
        angles = 2 * math.pi * time / periods
        moment = torch.cat([angles.sin(), angles.cos()]).to(actions.dtype)
        tokens = self.action_in(actions)
        both = torch.cat([tokens, moment.expand_as(tokens)], -1)
        tokens = self.time_out(F.silu(self.time_in(both)))
        if not self.shape.state_in_prefix:
            tokens = torch.cat([self.state(state)[:, None], tokens], 1)
        start = cache[0][0].shape[2]
        for layer, kept in zip(self.expert, cache, strict=True):
            tokens, _ = layer(tokens, kept, start)
        velocity: Tensor = self.action_out(self.norm(tokens)[:, -self.shape.chunk :])
        return velocity

    def _shuffled(self, seen: Tensor) -> Tensor:
        """Join the patches of each square of `shuffle` to one token."""
        n = self.shape.vision.shuffle
        if n == 1:
            return seen
        cameras, count, width = seen.shape
        side = math.isqrt(count) // n
        grid = seen.reshape(cameras, side, n, side, n, width).transpose(2, 3)
        return grid.reshape(cameras, side * side, n * n * width)


class _Layer(nn.Module):
    """A layer of a Llama or Gemma: grouped queries, rotary positions, gated feed-forward."""

    def __init__(self, shape: VlaShape, width: int, mlp: int, *, cross: bool = False) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head = shape.heads, shape.kv_heads, shape.head_width
        kv_width = self.kv_heads * self.head
        self.cross = cross
        source = kv_width if cross else width
        self.query = nn.Linear(width, self.heads * self.head, bias=False)
        self.key = nn.Linear(source, kv_width, bias=False)
        self.value = nn.Linear(source, kv_width, bias=False)
        self.out = nn.Linear(self.heads * self.head, width, bias=False)
        self.gate = nn.Linear(width, mlp, bias=False)
        self.up = nn.Linear(width, mlp, bias=False)
        self.down = nn.Linear(mlp, width, bias=False)
        self.before, self.between = nn.RMSNorm(width), nn.RMSNorm(width)

    def forward(
        self, tokens: Tensor, cache: tuple[Tensor, Tensor] | None, start: int
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the tokens (1, N, W), and their own keys and values.

        Args:
            tokens: Shape (1, N, W).
            cache: Keys and values of what comes before; None for nothing.
            start: Position of the first token.
        """
        normed = self.before(tokens)
        query = _rotate(self._split(self.query(normed), self.heads), start)
        if self.cross and cache is not None:
            key, value = (
                self._split(layer(part.transpose(1, 2).flatten(2)), self.kv_heads)
                for layer, part in zip((self.key, self.value), cache, strict=True)
            )
            own = (key, value)
        else:
            key = _rotate(self._split(self.key(normed), self.kv_heads), start)
            value = self._split(self.value(normed), self.kv_heads)
            own = (key, value)
            if cache is not None:
                key, value = (torch.cat(pair, 2) for pair in zip(cache, own, strict=True))
        groups = self.heads // self.kv_heads
        key, value = (part.repeat_interleave(groups, 1) for part in (key, value))
        seen = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(seen.transpose(1, 2).flatten(2))
        normed = self.between(tokens)
        return tokens + self.down(F.silu(self.gate(normed)) * self.up(normed)), own

    def _split(self, value: Tensor, heads: int) -> Tensor:
        return value.reshape(*value.shape[:-1], heads, self.head).transpose(1, 2)


def _rotate(value: Tensor, start: int) -> Tensor:
    """Rotate (1, heads, N, head_width) by its positions."""
    half = value.shape[-1] // 2
    steps = torch.arange(value.shape[2], device=value.device) + start
    rates = 1e4 ** (-torch.arange(half, device=value.device) / half)
    angles = steps[:, None] * rates
    sine, cosine = angles.sin().to(value.dtype), angles.cos().to(value.dtype)
    first, second = value[..., :half], value[..., half:]
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


def count_parameters(module: nn.Module) -> int:
    """Return how many numbers a module has learned, or would have."""
    return sum(value.numel() for value in module.parameters())
