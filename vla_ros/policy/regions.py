"""Proposes the things in an image, whatever they are: what a reasoner compares with one another.

The counterpart of the region features that ViLBERT and LXMERT read (Anderson et al. 2018), by a
detector of centre points (CenterNet; Zhou et al. 2019) on the maps of the eyes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Most things that are proposed: as many as a table holds, and one.
REGIONS = 8
#: Width of a region's embedding.
EMBEDDING = 64
#: Classes that an embedding is asked for: six colours and none; three shapes and two containers.
COLOUR_CLASSES, KIND_CLASSES = 7, 5
#: Colours and kinds are told more decidedly than their logits are, so that questions can rely on
#: them.
SHARPNESS = 2.0
#: What is said of a region: shares of colours and of kinds, half size [cm].
ATTRIBUTES = COLOUR_CLASSES + KIND_CLASSES + 1
#: A peak below this is no thing.
PRESENCE = 0.25


class Regions(NamedTuple):
    """K proposals, the surest first.

    Attributes:
        embedding: What each looks like (B, K, EMBEDDING).
        estimate: Pixel and depth of its centre (B, K, 3) [px, px, m].
        presence: How surely something is there (B, K), 0 to 1; 0 where it is no peak.
        cell: Index of its cell (B, K).
    """

    embedding: Tensor
    estimate: Tensor
    presence: Tensor
    cell: Tensor


class RegionProposer(nn.Module):
    """Peaks of a map of centres, each with an embedding of what is around it."""

    def __init__(self, width: int) -> None:
        """Build the proposer for maps of `width` channels."""
        super().__init__()
        self.centre = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, 1, 1)
        )
        self.look = nn.Sequential(
            nn.Conv2d(width + 1, EMBEDDING, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(EMBEDDING, EMBEDDING, 3, padding=1),
        )
        self.colour = nn.Linear(EMBEDDING, COLOUR_CLASSES)
        self.kind = nn.Linear(EMBEDDING, KIND_CLASSES)
        self.size = nn.Linear(EMBEDDING, 1)

    def maps(self, features: Tensor, cell_depth: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of centres (B, 1, H, W) and embeddings (B, EMBEDDING, H, W)."""
        return self.centre(features), self.look(torch.cat([features, cell_depth * 2.0], 1))

    def forward(self, centres: Tensor, embeddings: Tensor, estimates: Tensor) -> Regions:
        """Return the proposals.

        Args:
            centres: Logits (B, 1, H, W).
            embeddings: (B, EMBEDDING, H, W).
            estimates: Pixel and depth of the centre of what each cell shows (B, 3, H W).
        """
        heat = torch.sigmoid(centres.float())
        highest = functional.max_pool2d(heat, 3, stride=1, padding=1)
        peaks = torch.where(heat >= highest, heat, torch.zeros_like(heat)).flatten(1)
        presence, cell = peaks.topk(REGIONS, dim=1)
        return Regions(
            embedding=_gather(embeddings.float().flatten(2), cell),
            estimate=_gather(estimates, cell),
            presence=presence * (presence > PRESENCE).float(),
            cell=cell,
        )

    def attributes(self, embedding: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of colour and kind, and half size [cm], of embeddings (..., EMBEDDING)."""
        return self.colour(embedding), self.kind(embedding), self.size(embedding).squeeze(-1)

    def describe(self, embedding: Tensor) -> Tensor:
        """Return the attributes (B, K, ATTRIBUTES) of embeddings (B, K, EMBEDDING)."""
        colour, kind, half = self.attributes(embedding)
        sharp = [torch.softmax(SHARPNESS * logits, -1) for logits in (colour, kind)]
        return torch.cat([*sharp, half[..., None]], -1)


def _gather(maps: Tensor, cell: Tensor) -> Tensor:
    """Return (B, K, C) of maps (B, C, N) at cells (B, K)."""
    index = cell[:, None].expand(-1, maps.shape[1], -1)
    return maps.gather(2, index).transpose(1, 2)
