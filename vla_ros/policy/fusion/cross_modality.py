"""Three encoders: of language, of the relations between things, and across (LXMERT)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from vla_ros.policy.fusion.blocks import Attention, FeedForward, Readout, SelfLayer
from vla_ros.policy.fusion.streams import STREAMS, Fused, Fusion, Stream, join, single

SENSED = tuple(name for name in STREAMS if name != "language")


class CrossModalityFusion(Fusion):
    """A language encoder and an object-relationship encoder, then a cross-modality encoder.

    LXMERT (Tan and Bansal 2019). As there, one cross-attention serves both directions of a layer,
    and the decision is read off the language side. Scaled down from 9, 5 and 5 layers to one, one
    and `layers`, of the last of which the language side alone is computed; the things that relate
    are the sighted points, with joints and IMU among them.
    """

    least_layers = 2

    def __init__(self, width: int, heads: int, layers: int, feedforward: int) -> None:
        """Build the three encoders."""
        super().__init__(width, heads, layers, feedforward)
        self.readout = Readout(width)
        self.language = SelfLayer(width, heads, feedforward)
        self.relations = SelfLayer(width, heads, feedforward)
        self.across = nn.ModuleList(_Across(width, heads, feedforward) for _ in range(layers - 1))
        #: Of the last layer, the language side alone is read.
        self.last = _LastAcross(width, heads, feedforward)
        self.norm = nn.LayerNorm(width)

    def forward(self, streams: Mapping[str, Stream]) -> Fused:
        """Encode each side by itself, then across."""
        words = self.language(self.readout.ahead_of(streams["language"]))
        sensed = self.relations(join(streams, SENSED))
        for layer in self.across:
            words, sensed = layer(words, sensed)
        return single(self.norm(self.last(words, sensed).tokens[:, 0]))


class _Across(nn.Module):
    """Each side asks the other through one shared attention, then itself."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.cross = Attention(width, heads)
        self.words = SelfLayer(width, heads, feedforward)
        self.sensed = SelfLayer(width, heads, feedforward)

    def forward(self, words: Stream, sensed: Stream) -> tuple[Stream, Stream]:
        told_words = Stream(self.cross(words.tokens, sensed), words.mask)
        told_sensed = Stream(self.cross(sensed.tokens, words), sensed.mask)
        return self.words(told_words), self.sensed(told_sensed)


class _LastAcross(nn.Module):
    """The side that is read asks once more."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.cross = Attention(width, heads)
        self.think = FeedForward(width, feedforward)

    def forward(self, words: Stream, sensed: Stream) -> Stream:
        return Stream(self.think(self.cross(words.tokens, sensed)), words.mask)
