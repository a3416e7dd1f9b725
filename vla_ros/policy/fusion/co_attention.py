"""Co-attention: words look at the scene while the scene looks at the words (ViLBERT)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from vla_ros.policy.fusion.blocks import CrossLayer, Readout, SelfLayer
from vla_ros.policy.fusion.streams import STREAMS, Fused, Fusion, Stream, join, single

SENSED = tuple(name for name in STREAMS if name != "language")


class CoAttentionFusion(Fusion):
    """Two streams, language and everything sensed; each asks the other, then itself.

    The co-attentional transformer layers of ViLBERT (Lu et al. 2019), whose two read-outs are
    multiplied as there. Scaled down: both streams are as wide, and meet from the first layer on,
    of which the shipped sizes leave one.
    """

    def __init__(self, width: int, heads: int, layers: int, feedforward: int) -> None:
        """Build the layers of both streams."""
        super().__init__(width, heads, layers, feedforward)
        self.words_readout, self.sensed_readout = Readout(width), Readout(width)
        self.layers = nn.ModuleList(_Meeting(width, heads, feedforward) for _ in range(layers))
        self.words_norm, self.sensed_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, streams: Mapping[str, Stream]) -> Fused:
        """Exchange keys and values between the streams, layer by layer."""
        words = self.words_readout.ahead_of(streams["language"])
        sensed = self.sensed_readout.ahead_of(join(streams, SENSED))
        for layer in self.layers:
            words, sensed = layer(words, sensed)
        return single(self.words_norm(words.tokens[:, 0]) * self.sensed_norm(sensed.tokens[:, 0]))


class _Meeting(nn.Module):
    """Both streams ask each other, then themselves."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.words_ask = CrossLayer(width, heads, feedforward)
        self.sensed_ask = CrossLayer(width, heads, feedforward)
        self.words_think = SelfLayer(width, heads, feedforward)
        self.sensed_think = SelfLayer(width, heads, feedforward)

    def forward(self, words: Stream, sensed: Stream) -> tuple[Stream, Stream]:
        told_words, told_sensed = self.words_ask(words, sensed), self.sensed_ask(sensed, words)
        return self.words_think(told_words), self.sensed_think(told_sensed)
