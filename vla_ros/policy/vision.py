"""Find what the instruction names in an RGB-D image, and where it is.

An image encoder makes a map of cell embeddings that knows nothing of language. A query from
the instruction is compared with every cell; the softmax over all cells and a "not here" logit is
both the attention map that people look at and, around its peak, the weight with which the cells'
own estimates of the object's centre are averaged. As colour and shape add up in the comparison, a
pair that training never showed is found by its parts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.encoders import CELLS, find_depth_encoder, find_image_encoder

#: Cells to each side of the strongest one that a thing's place is averaged over.
WINDOW = 2


class Sighting(NamedTuple):
    """Where K queries are seen by one camera.

    `point` (B, K, 3) [m] in the camera's optical frame; `confidence` (B, K), 1 when surely in
    view and nothing else could be meant; `logits` (B, K, cells + 1), the last one for "not here";
    `pixel` (B, K, 2) [px].
    """

    point: Tensor
    confidence: Tensor
    logits: Tensor
    pixel: Tensor


class KeypointEncoder(nn.Module):
    """One camera's encoder: RGB-D image and queries in, sightings out.

    The map has 32 x 32 cells; image and depth encoder, which make it, are the configuration's.
    """

    CELLS = CELLS

    rays: Tensor
    centres: Tensor

    def __init__(self, config: PolicyConfig, camera: str) -> None:
        """Build the encoder of the camera with a name."""
        super().__init__()
        geometry = config.cameras[camera]
        width, query_width = config.vision_width, config.width
        self.trunk = find_image_encoder(config.image_encoder)(config, geometry)
        self.depth_encoder = find_depth_encoder(config.depth_encoder)(config, geometry)
        self.embed = nn.Conv2d(width, width, 1)
        #: offset of the centre from the cell (u, v) [cells], depth behind the surface, depth alone
        self.geometry = nn.Conv2d(width, 4, 1)
        self.query = nn.Sequential(
            nn.Linear(query_width, query_width), nn.GELU(), nn.Linear(query_width, width + 1)
        )
        self.nowhere = nn.Linear(query_width, 1)
        self._camera = geometry
        stride = geometry.width / self.CELLS
        axis = (torch.arange(self.CELLS) + 0.5) * stride - 0.5
        v, u = torch.meshgrid(axis, axis, indexing="ij")
        self.register_buffer("centres", torch.stack([u, v]).flatten(1), persistent=False)
        self._stride = stride
        pixels = torch.arange(geometry.width, dtype=torch.float32)
        y, x = torch.meshgrid(pixels, pixels, indexing="ij")
        rays = torch.stack([(x - geometry.cx) / geometry.fx, (y - geometry.cy) / geometry.fy])
        self.register_buffer("rays", rays, persistent=False)

    def features(
        self, rgb: Tensor, depth: Tensor, up: Tensor, height: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the cells' features (B, C, 32, 32) and depth (B, 1, 32, 32) [m], 0 = unknown.

        Args:
            rgb: (B, H, W, 3), 0 to 255.
            depth: (B, H, W) [m], 0 = hole.
            up: The third row of T_base_optical's rotation (B, 3): how height grows by axis.
            height: Of the camera above the base (B,) [m].
        """
        colour = rgb.float().permute(0, 3, 1, 2) * (2.0 / 255.0) - 1.0
        depth = depth[:, None]
        known = (depth > 0.01).float()
        depth = depth * known
        slope = up[:, 0, None, None] * self.rays[0] + up[:, 1, None, None] * self.rays[1]
        above = (slope + up[:, 2, None, None])[:, None] * depth + height[:, None, None, None]
        above = (above.clamp(-0.1, 0.3) * known) * 8.0
        place = self.rays.expand(rgb.shape[0], -1, -1, -1)
        stack = torch.cat([colour, above, known, place], 1)  # (B, 7, H, W)
        block = int(self._stride)
        area = functional.avg_pool2d(known, block)
        cell_depth = functional.avg_pool2d(depth, block) / area.clamp(min=1e-3)
        image, added = self.depth_encoder(stack)
        features = self.trunk(image)
        if added is not None:
            features = features + added
        return features, cell_depth * (area > 0.05).float()

    def forward(self, features: Tensor, cell_depth: Tensor, queries: Tensor) -> Sighting:
        """Return the sightings of queries (B, K, Q) in the cells' features."""
        cells = self.embed(features).float().flatten(2)  # (B, C, N)
        query = self.query(queries)
        logits = query[..., :-1] @ cells * cells.shape[1] ** -0.5 + query[..., -1:]  # (B, K, N)
        logits = torch.cat([logits, self.nowhere(queries)], -1)
        weights = functional.softmax(logits, -1)
        confidence = 1.0 - weights[..., -1]
        weights, share = self._around_peak(weights[..., :-1])
        confidence = confidence * share**4
        estimate = weights @ self.estimates(features, cell_depth).transpose(1, 2)  # (B, K, 3)
        return Sighting(self.point(estimate), confidence, logits, estimate[..., :2])

    def estimates(self, features: Tensor, cell_depth: Tensor) -> Tensor:
        """Return pixel and depth of the centre of what each cell shows (B, 3, N) [px, px, m]."""
        offset, behind, alone = self.geometry(features).float().flatten(2).split([2, 1, 1], 1)
        surface = cell_depth.flatten(2)
        seen = (surface > 0).float()
        depth = seen * (surface + 0.1 * behind) + (1 - seen) * (0.5 + 0.3 * alone)
        return torch.cat([self.centres + offset * self._stride, depth], 1)

    def point(self, estimate: Tensor) -> Tensor:
        """Return points (..., 3) [m] in the optical frame of pixels and depths (..., 3)."""
        u, v, z = estimate.unbind(-1)
        camera = self._camera
        return torch.stack(
            [(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z], -1
        )

    def _around_peak(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights (B, K, N) near the strongest cell alone, summing to one.

        An average over two things that look alike would lie between them, where nothing is. The
        second tensor (B, K) is the share of all weight that is there: low if there are two.
        """
        peak = self.centres[:, weights.argmax(-1)]  # (2, B, K)
        apart = (self.centres[:, None, None] - peak[..., None]).abs().amax(0)  # (B, K, N) [px]
        near = weights * (apart < (WINDOW + 0.5) * self._stride)
        inside = near.sum(-1, keepdim=True).clamp(min=1e-6)
        share = inside.squeeze(-1) / weights.sum(-1).clamp(min=1e-6)
        return near / inside, share.clamp(max=1.0)
