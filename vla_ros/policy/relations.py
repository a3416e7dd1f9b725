"""Points at one of several things by how it relates to each of the others.

A relation network (Santoro et al. 2017) as a pointer: what is asked, a thing, another one and how
the one stands to the other go through one small network; what it makes of all others is summed,
which can count, and maximized, which can find.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

RELATION = 64  # width of the networks
PAIR = 8  # features of a pair, see `pairs_of`


class RelationPointer(nn.Module):
    """Scores K things for each of the places that an instruction has: object and target."""

    def __init__(self, width: int, places: int = 2) -> None:
        """Build it for tokens of `width`."""
        super().__init__()
        #: What is asked scales and shifts what is made of a pair (FiLM; Perez et al. 2018).
        self.asked = nn.Linear(width, 3 * RELATION)
        self.one = nn.Linear(width, RELATION)
        self.other = nn.Linear(width, RELATION)
        self.pair = nn.Linear(PAIR, RELATION)
        self.relate = nn.Sequential(nn.GELU(), nn.Linear(RELATION, RELATION), nn.GELU())
        self.own = nn.Linear(width, RELATION)
        self.score = nn.Sequential(
            nn.Linear(4 * RELATION, 2 * RELATION), nn.GELU(), nn.Linear(2 * RELATION, places)
        )

    def forward(self, decision: Tensor, tokens: Tensor, pairs: Tensor, there: Tensor) -> Tensor:
        """Return logits (B, places, K); anything where nothing is there.

        Args:
            decision: What is asked (B, W).
            tokens: Of the things (B, K, W).
            pairs: How each stands to each (B, K, K, PAIR).
            there: (B, K), 1 where there is one.
        """
        scale, shift, wanted = self.asked(decision).chunk(3, -1)
        both = self.one(tokens)[:, :, None] + self.other(tokens)[:, None] + self.pair(pairs)
        related = self.relate(both * (1 + scale[:, None, None]) + shift[:, None, None])
        others = (
            there[:, None, :, None]
            * (1 - torch.eye(there.shape[1], device=there.device))[None, :, :, None]
        )
        related = related * others
        own = self.own(tokens)
        features = [related.sum(2) * 0.3, related.amax(2), own, wanted[:, None].expand_as(own)]
        scores: Tensor = self.score(torch.cat(features, -1))
        return scores.transpose(1, 2)


def pairs_of(xyz: Tensor, attributes: Tensor, colours: int) -> Tensor:
    """Return how each thing stands to each (B, K, K, PAIR), seen from the first.

    Offset, distance, which is larger, and how surely they have the same colour and kind.

    Args:
        xyz: (B, K, 3) [m] in the base frame.
        attributes: Chances of colours and of kinds, and half size [cm] (B, K, A).
        colours: How many of those are colours.
    """
    apart = xyz[:, :, None, :2] - xyz[:, None, :, :2]
    colour, kind = attributes[..., :colours], attributes[..., colours:-1]
    size = attributes[..., -1]
    return torch.stack(
        [
            apart[..., 0] * 5,
            apart[..., 1] * 5,
            torch.tanh(apart[..., 0] * 40),
            torch.tanh(apart[..., 1] * 40),
            torch.sqrt((apart * apart).sum(-1) + 1e-6) * 5,
            torch.tanh((size[:, :, None] - size[:, None]) * 6),
            colour @ colour.transpose(1, 2),
            kind @ kind.transpose(1, 2),
        ],
        -1,
    )
