"""Late fusion: every modality decides by itself, and the decisions are weighed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vla_ros.policy.fusion.blocks import Readout, SelfLayer
from vla_ros.policy.fusion.streams import Fused, Fusion, Stream

#: What has an opinion of its own; the state is the one that is always there.
OPINIONS = ("front", "wrist", "memory", "state", "imu")


class LateFusion(Fusion):
    """One opinion per modality, weighed by a learned reliability.

    Decision-level combination (Baltrušaitis et al. 2019, section 6.1; Kittler et al. 1998). No
    modality sees another one here. All see the instruction, since a decision without it would be
    about no task; and the head, which all share, sees the joint state beside each opinion. Scaled
    down: the layers are shared as well, each modality marks its tokens. What is missing has no
    vote.
    """

    def __init__(self, width: int, heads: int, layers: int, feedforward: int) -> None:
        """Build the layers that every modality goes through by itself."""
        super().__init__(width, heads, layers, feedforward)
        self.readout = Readout(width)
        self.mark = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(1, 1, width) * 0.1) for name in OPINIONS}
        )
        self.layers = nn.ModuleList(SelfLayer(width, heads, feedforward) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.reliability = nn.Linear(width, 1)

    def forward(self, streams: Mapping[str, Stream]) -> Fused:
        """Let each modality make up its mind, then weigh."""
        opinions = torch.stack([self._opinion(name, streams) for name in OPINIONS], 1)
        there = torch.stack([streams[name].mask.amax(1) for name in OPINIONS], 1) > 0.5
        score = self.reliability(opinions).squeeze(-1).masked_fill(~there, float("-inf"))
        opinions = opinions.masked_fill(~there[..., None], 0.0)
        return Fused(opinions, torch.softmax(score, -1))

    def _opinion(self, name: str, streams: Mapping[str, Stream]) -> Tensor:
        language, own = streams["language"], streams[name]
        stream = self.readout.ahead_of(
            Stream(
                torch.cat([language.tokens, own.tokens + self.mark[name]], 1),
                torch.cat([language.mask, own.mask], 1),
            )
        )
        for layer in self.layers:
            stream = layer(stream)
        return torch.as_tensor(self.norm(stream.tokens[:, 0]))
