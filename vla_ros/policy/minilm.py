"""The MiniLM sentence encoder in plain torch, read from its published safetensors file."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional


class MiniLM(nn.Module):
    """A BERT encoder that returns the last hidden state; no pooling, no dropout.

    Args:
        config: The model's `config.json`.
    """

    def __init__(self, config: dict[str, int | float]) -> None:
        """Build the layers; `from_directory` fills in the weights."""
        super().__init__()
        width, eps = int(config["hidden_size"]), float(config["layer_norm_eps"])
        self.words = nn.Embedding(int(config["vocab_size"]), width)
        self.positions = nn.Embedding(int(config["max_position_embeddings"]), width)
        self.segments = nn.Embedding(int(config["type_vocab_size"]), width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.layers = nn.ModuleList(
            _Layer(
                width, int(config["intermediate_size"]), int(config["num_attention_heads"]), eps
            )
            for _ in range(int(config["num_hidden_layers"]))
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return token features, shape (B, L, width), of ids and mask, both int64 (B, L)."""
        index = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        x: Tensor = self.words(input_ids) + self.positions(index) + self.segments.weight[0]
        x = self.norm(x)
        bias = (1.0 - attention_mask.to(x.dtype))[:, None, None, :] * -10000.0  # (B, 1, 1, L)
        for layer in self.layers:
            x = layer(x, bias)
        return x

    @classmethod
    def from_directory(cls, directory: Path) -> MiniLM:
        """Load the model from a folder with `config.json` and `model.safetensors`."""
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        model = cls(config)
        published = load_file(directory / "model.safetensors")
        model.load_state_dict({_our_name(k): v for k, v in published.items() if _is_used(k)})
        return model.eval()


class _Layer(nn.Module):
    """Self-attention and feed-forward, each followed by its residual and norm."""

    def __init__(self, width: int, inner: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.out_norm = nn.LayerNorm(width, eps=eps)
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.down_norm = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, L, d)
            for layer in (self.query, self.key, self.value)
        )
        weights = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + bias
        mixed = (weights.softmax(-1) @ value).transpose(1, 2).flatten(-2)  # (B, L, width)
        x = self.out_norm(x + self.out(mixed))
        x = self.down_norm(x + self.down(functional.gelu(self.up(x))))
        return x


_RENAMES = (
    ("embeddings.word_embeddings", "words"),
    ("embeddings.position_embeddings", "positions"),
    ("embeddings.token_type_embeddings", "segments"),
    ("embeddings.LayerNorm", "norm"),
    ("encoder.layer", "layers"),
    ("attention.self.", ""),
    ("attention.output.dense", "out"),
    ("attention.output.LayerNorm", "out_norm"),
    ("intermediate.dense", "up"),
    ("output.dense", "down"),
    ("output.LayerNorm", "down_norm"),
)


def _is_used(name: str) -> bool:
    return not name.startswith("pooler") and not name.endswith("position_ids")


def _our_name(name: str) -> str:
    for published, ours in _RENAMES:
        name = name.replace(published, ours)
    return name
