"""The points of a batch of rendered states, for policies that read points."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vla_ros.engine.clouds import cloud_maker
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.encoders import CloudBatch


class _Seen(Protocol):
    """Images and depth of the cameras, the front one first: (B, H, W, 3) and (B, H, W) [m]."""

    @property
    def rgb(self) -> tuple[Tensor, Tensor]: ...

    @property
    def depth(self) -> tuple[Tensor, Tensor]: ...


class CloudReader:
    """Makes the points that a policy reads, as the running policy's are made."""

    def __init__(self, config: PolicyConfig) -> None:
        """Prepare for a policy; one that reads no points gets none.

        Raises:
            UserError: if the policy reads points, and Open3D is not installed.
        """
        self._make = cloud_maker(config)

    def __call__(self, batch: _Seen) -> CloudBatch | None:
        """Return the points of the front camera's images; None for a policy that reads none."""
        if self._make is None:
            return None
        rgb, depth = (value[0].cpu().numpy() for value in (batch.rgb, batch.depth))
        clouds = [self._make(*image) for image in zip(rgb, depth, strict=True)]
        device = batch.depth[0].device
        return CloudBatch(
            torch.from_numpy(np.stack([cloud.points for cloud in clouds])).to(device),
            torch.from_numpy(np.stack([cloud.mask for cloud in clouds])).float().to(device),
        )
