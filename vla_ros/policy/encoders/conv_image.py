"""Image encoder `conv`: a compact convolutional net."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from vla_ros.policy.configuration import CameraGeometry, PolicyConfig
from vla_ros.policy.encoders.image import CHANNELS, ImageEncoder


class ConvImageEncoder(nn.Sequential, ImageEncoder):
    """Three convolutions and two residual blocks, the second one dilated.

    The blocks are those of ResNet (He et al. 2016), scaled down to 0.14 million parameters. A
    camera on the hand is read at half resolution, as what it has to find is near.
    """

    def __init__(self, config: PolicyConfig, camera: CameraGeometry) -> None:
        """Build the layers for a camera's images."""
        width = config.vision_width
        super().__init__(
            nn.Conv2d(CHANNELS, 24, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(inplace=True),
            nn.Conv2d(24, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, width, 3, stride=1 if camera.on_hand else 2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            Residual(width, 1),
            Residual(width, 2),
        )
        self._reduce = 2 if camera.on_hand else 1

    def forward(self, stack: Tensor) -> Tensor:
        """Return the cells' features (B, C, 32, 32) of a stack (B, 7, H, W)."""
        if self._reduce > 1:
            stack = functional.avg_pool2d(stack, self._reduce)
        cells: Tensor = nn.Sequential.forward(self, stack)  # type: ignore[no-untyped-call]
        return cells


class Residual(nn.Module):
    """Two 3x3 convolutions around a skip."""

    def __init__(self, width: int, dilation: int) -> None:
        """Build the block; the first convolution is the dilated one."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return a map (B, C, H, W) of the same shape."""
        return functional.relu(x + self.body(x))
