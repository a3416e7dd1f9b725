"""Depth encoder `points`: what the front camera measures, as points in the base frame."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vla_ros.policy.encoders.depth import DepthEncoder, without_depth
from vla_ros.policy.fusion.streams import Stream

#: Tokens that a cloud becomes.
TOKENS = 4
FEATURES = 192


class DepthAsPoints(DepthEncoder):
    """The image encoder sees no depth; `PointEncoder` has it."""

    def __init__(self, config: object, camera: object) -> None:
        """Take the arguments of every depth encoder; this one has no layers."""
        super().__init__()
        del config, camera

    def forward(self, stack: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the stack without depth."""
        return without_depth(stack), None


class CloudBatch(NamedTuple):
    """Points of the front camera.

    `points` (B, N, 6): xyz in the base frame [m] and colour, 0 to 1; `mask` (B, N), 1 for a point.
    """

    points: Tensor
    mask: Tensor


class PointEncoder(nn.Module):
    """Tokens of a cloud: the same layers for every point, then the maximum over all.

    PointNet (Qi et al. 2017), scaled down to three layers and without its transforms of the
    input, as the points are in the robot's base frame already; layers are normalized per point,
    so that padding takes no part.
    """

    def __init__(self, width: int) -> None:
        """Build the layers for tokens of a width."""
        super().__init__()
        self.each = nn.Sequential(
            nn.Linear(6, 64),
            nn.LayerNorm(64),
            nn.GELU(),
            nn.Linear(64, 96),
            nn.LayerNorm(96),
            nn.GELU(),
            nn.Linear(96, FEATURES),
        )
        self.out = nn.Sequential(nn.LayerNorm(FEATURES), nn.Linear(FEATURES, TOKENS * width))

    def forward(self, cloud: CloudBatch, there: Tensor) -> Stream:
        """Return the tokens (B, 4, W), which are missing if there is no point.

        Args:
            cloud: The points.
            there: (B, 1), 1 where the depth that they come from was measured.
        """
        points, mask = cloud.points, cloud.mask * there
        scaled = torch.cat([points[..., :3] * 5, points[..., 3:] * 2 - 1], -1)
        features = self.each(scaled)
        nowhere = torch.full_like(features, torch.finfo(features.dtype).min)
        most = torch.where(mask[..., None] > 0.5, features, nowhere).amax(1)  # (B, FEATURES)
        any_point = (mask.amax(1, keepdim=True) > 0.5).to(most.dtype)  # (B, 1)
        most = torch.where(any_point > 0.5, most, torch.zeros_like(most))
        tokens = self.out(most).unflatten(1, (TOKENS, -1))
        return Stream(tokens, any_point.expand(-1, TOKENS))
