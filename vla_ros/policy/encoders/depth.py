"""What every depth encoder takes and returns, and `channel`, which leaves depth in the stack."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from vla_ros.policy.encoders.image import DEPTH_CHANNELS


class DepthEncoder(nn.Module, ABC):
    """Says what the image encoder sees of one camera's depth, and what is added to its map.

    Built from a `PolicyConfig` and a `CameraGeometry`. Where a thing is found, the measured depth
    of its cells says how far it is, whichever encoder there is.
    """

    @abstractmethod
    def forward(self, stack: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the stack (B, 7, H, W) for the image encoder, and a map to add or None.

        The map (B, C, 32, 32) is zero for an image without depth.
        """


class DepthChannel(DepthEncoder):
    """Height above the table and whether it is known are two channels beside the colours."""

    def __init__(self, config: object, camera: object) -> None:
        """Take the arguments of every depth encoder; this one has no layers."""
        super().__init__()
        del config, camera

    def forward(self, stack: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the stack as it is."""
        return stack, None


def without_depth(stack: Tensor) -> Tensor:
    """Return the stack (B, 7, H, W) as if no depth had been measured."""
    before, after = DEPTH_CHANNELS.start, DEPTH_CHANNELS.stop
    nothing = torch.zeros_like(stack[:, DEPTH_CHANNELS])
    return torch.cat([stack[:, :before], nothing, stack[:, after:]], 1)
