"""Depth encoder `own`: depth goes through convolutions of its own."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from vla_ros.policy.configuration import CameraGeometry, PolicyConfig
from vla_ros.policy.encoders.depth import DepthEncoder, without_depth
from vla_ros.policy.encoders.image import CELLS, DEPTH_CHANNELS, as_stream
from vla_ros.policy.fusion.streams import Stream

#: Cells of the grid that depth is averaged to before the convolutions, per cell of the map.
FINER = 2


class OwnDepth(DepthEncoder):
    """Height, whether it is known, and the rays make a map that is added to the image's.

    FuseNet (Hazirbas et al. 2016), which adds the features of a depth branch to those of a colour
    branch. Scaled down to three convolutions whose result is added once, at the end.
    """

    def __init__(self, config: PolicyConfig, camera: CameraGeometry) -> None:
        """Build the layers for a camera's images."""
        super().__init__()
        width = config.vision_width
        self._block = camera.width // (CELLS * FINER)
        self.branch = nn.Sequential(
            nn.Conv2d(4, 24, 3, padding=1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(inplace=True),
            nn.Conv2d(24, 32, 3, stride=FINER, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, width, 3, padding=1),
        )

    def forward(self, stack: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the stack without depth, and the map (B, C, 32, 32) to add."""
        there = _known(stack)[..., None, None]
        shrunk = functional.avg_pool2d(stack[:, DEPTH_CHANNELS.start :], self._block)
        return without_depth(stack), self.branch(shrunk) * there

    def tokens(self, stack: Tensor) -> Stream:
        """Return one token per cell; all are missing from an image without depth."""
        _, cells = self(stack)
        return as_stream(cells, _known(stack))


def _known(stack: Tensor) -> Tensor:
    """Return (B, 1): 1 where the depth of any pixel is known."""
    return (stack[:, DEPTH_CHANNELS.stop - 1].flatten(1).amax(1, keepdim=True) > 0.5).float()
