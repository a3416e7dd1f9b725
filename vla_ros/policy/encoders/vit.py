"""Image encoder `vit`: a small vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vla_ros.policy.configuration import CameraGeometry, PolicyConfig
from vla_ros.policy.encoders.image import CELLS, CHANNELS, ImageEncoder
from vla_ros.policy.fusion.blocks import SelfLayer
from vla_ros.policy.fusion.streams import Stream

#: Patches along each side, and the transformer's sizes.
PATCHES = CELLS // 2
WIDTH, LAYERS, HEADS, FEEDFORWARD = 64, 3, 4, 128


class ViTImageEncoder(ImageEncoder):
    """Patches, a transformer over them, and a transposed convolution back to the cells.

    ViT (Dosovitskiy et al. 2021), trained from nothing with the policy: 16 x 16 patches over all
    seven channels, three pre-norm layers, no class token. Scaled down to about as many parameters
    as `conv` has.
    """

    def __init__(self, config: PolicyConfig, camera: CameraGeometry) -> None:
        """Build the layers for a camera's images."""
        super().__init__()
        patch = camera.width // PATCHES
        self.patches = nn.Conv2d(CHANNELS, WIDTH, patch, stride=patch)
        self.places = nn.Parameter(torch.randn(1, PATCHES * PATCHES, WIDTH) * 0.02)
        self.layers = nn.ModuleList(SelfLayer(WIDTH, HEADS, FEEDFORWARD) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.enlarge = nn.Sequential(
            nn.ConvTranspose2d(WIDTH, config.vision_width, 2, stride=2),
            nn.GELU(),
            nn.Conv2d(config.vision_width, config.vision_width, 3, padding=1),
        )

    def forward(self, stack: Tensor) -> Tensor:
        """Return the cells' features (B, C, 32, 32) of a stack (B, 7, H, W)."""
        tokens = self.patches(stack).flatten(2).transpose(1, 2) + self.places  # (B, 256, W)
        stream = Stream(tokens, torch.ones_like(tokens[..., 0]))
        for layer in self.layers:
            stream = layer(stream)
        grid = self.norm(stream.tokens).transpose(1, 2).unflatten(2, (PATCHES, PATCHES))
        cells: Tensor = self.enlarge(grid)
        return cells
