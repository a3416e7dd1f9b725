"""What every fusion takes and returns: tokens and masks by modality in, fused tokens out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from vla_ros.core.errors import UserError

#: The order of the modalities wherever they are concatenated. `language` and `state` are always
#: there; `memory` is where things were when the instruction came.
STREAMS = ("language", "front", "wrist", "memory", "state", "imu")


class Stream(NamedTuple):
    """One modality: `tokens` (B, T, W) and `mask` (B, T), 1 for a token that is there."""

    tokens: Tensor
    mask: Tensor


class Fused(NamedTuple):
    """What the action is decided from.

    `tokens` (B, K, W): K opinions, one for most fusions. `weight` (B, K): how much each counts in
    the decision; they sum to 1, and what is missing has 0.
    """

    tokens: Tensor
    weight: Tensor


class Fusion(nn.Module, ABC):
    """Mixes the modalities; what is masked can change nothing of what comes out.

    Attributes:
        least_layers: With fewer, what the fusion is named for would not happen.
    """

    least_layers: ClassVar[int] = 1

    def __init__(self, width: int, heads: int, layers: int, feedforward: int) -> None:
        """Build the layers.

        Args:
            width: Of a token, W.
            heads: Attention heads.
            layers: How often the modalities are mixed.
            feedforward: Width of the hidden layer behind every attention.

        Raises:
            UserError: if there are fewer than `least_layers`.
        """
        super().__init__()
        if layers < self.least_layers:
            raise UserError(
                f"{type(self).__name__} with {layers} layers would not mix the modalities as its "
                f"name says; it takes {self.least_layers} or more (policy.layers)"
            )
        self.width, self.heads = width, heads
        self.layer_count, self.feedforward = layers, feedforward

    @abstractmethod
    def forward(self, streams: Mapping[str, Stream]) -> Fused:
        """Return the fused tokens of the streams named in `STREAMS`, all of them."""


def join(streams: Mapping[str, Stream], names: tuple[str, ...] = STREAMS) -> Stream:
    """Return the named streams' tokens one behind the other."""
    return Stream(
        torch.cat([streams[name].tokens for name in names], 1),
        torch.cat([streams[name].mask for name in names], 1),
    )


def single(token: Tensor) -> Fused:
    """Return one opinion (B, W) as the decision."""
    return Fused(token[:, None], torch.ones_like(token[:, :1]))
