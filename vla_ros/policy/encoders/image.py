"""What every image encoder takes and returns."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from vla_ros.policy.fusion.streams import Stream

#: Cells along each side of the map.
CELLS = 32
#: Channels of the stack: red, green, blue; height above the table, whether depth is known; the
#: pixel's ray (x, y).
CHANNELS = 7
DEPTH_CHANNELS = slice(3, 5)


class ImageEncoder(nn.Module, ABC):
    """Makes a map of cells of one camera's image.

    An encoder is built from a `PolicyConfig` and the `CameraGeometry` of its camera. The policy
    asks the map where things are, and makes tokens of their places; `tokens` gives the cells
    themselves to fusions of other policies.
    """

    @abstractmethod
    def forward(self, stack: Tensor) -> Tensor:
        """Return the cells' features (B, C, 32, 32) of a stack (B, 7, H, W).

        Colours are -1 to 1, height is 8 per metre, rays are x/z and y/z in the optical frame.
        """

    def tokens(self, stack: Tensor, there: Tensor) -> Stream:
        """Return one token per cell; `there` (B, 1) is 1 for an image that was seen."""
        return as_stream(self(stack), there)


def as_stream(cells: Tensor, there: Tensor) -> Stream:
    """Return the cells (B, C, 32, 32) as tokens (B, 1024, C), all there or all missing."""
    tokens = cells.flatten(2).transpose(1, 2)
    return Stream(tokens, there.expand(-1, tokens.shape[1]))
