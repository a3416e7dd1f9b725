"""Where things are: points in the base frame, merged over cameras, described to the fusion."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Points(NamedTuple):
    """K points in the base frame: `xyz` (B, K, 3) [m] and `confidence` (B, K) in 0 to 1."""

    xyz: Tensor
    confidence: Tensor


def merge_points(points: dict[str, Points]) -> Tensor:
    """Return object and target (B, 2, 4), xyz [m] and confidence, over all cameras.

    Cameras that are equally sure are averaged; else the surer one counts. One that is not sure at
    all has no say, not even where no other is.
    """
    xyz = torch.stack([seen.xyz[:, :2] for seen in points.values()])  # (C, B, 2, 3)
    confidence = torch.stack([seen.confidence[:, :2] for seen in points.values()])
    sure = confidence.clamp(min=1e-3) ** 8 * (confidence > 0)
    weight = sure / sure.sum(0).clamp(min=1e-30)
    best = confidence.amax(0)
    return torch.cat([(xyz * weight[..., None]).sum(0), best[..., None]], -1)


def describe_point(xyz: Tensor, confidence: Tensor, tcp: Tensor, rotation: Tensor) -> Tensor:
    """Return features (B, 16) of a point: from the base, from the tcp, in the hand's axes, near.

    What is not seen has no position: everything is scaled by the confidence.

    Args:
        xyz: (B, 3) [m] in the base frame.
        confidence: (B,).
        tcp: Where the hand is (B, 3) [m].
        rotation: Of the hand (B, 3, 3).
    """
    relative = xyz - tcp
    in_hand = (relative[:, None] @ rotation).squeeze(1)
    features = torch.cat(
        [xyz * 5, relative * 5, in_hand * 5, torch.tanh(in_hand * 40), torch.tanh(relative * 40)],
        -1,
    )
    return torch.cat([features * confidence[:, None], confidence[:, None]], -1)
