"""Losses of the auxiliary targets that only training knows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vla_ros.learning.questions import TOLD
from vla_ros.learning.texts import AUXILIARY
from vla_ros.policy.configuration import CameraGeometry
from vla_ros.policy.language import SLOTS
from vla_ros.policy.vision import KeypointEncoder, Sighting

#: Which slot each auxiliary class is read from.
_SLOT = {
    "skill": "skill",
    "colour": "object",
    "shape": "object",
    "target_colour": "target",
    "target_kind": "target",
    "direction": "direction",
}


class SlotClassifier(nn.Module):
    """Reads colours, shapes, skill, direction off the language slots; dropped after training."""

    def __init__(self, width: int) -> None:
        """Build one linear classifier per auxiliary target."""
        super().__init__()
        self.heads = nn.ModuleDict({key: nn.Linear(width, n) for key, n in AUXILIARY.items()})
        self.told = nn.ModuleDict({key: nn.Linear(width, n) for key, n in TOLD.items()})

    def forward(self, slots: Tensor) -> dict[str, Tensor]:
        """Return logits per auxiliary target from slots (B, 4, width)."""
        return {key: head(slots[:, SLOTS.index(_SLOT[key])]) for key, head in self.heads.items()}

    def told_loss(self, questions: Tensor, told: Tensor) -> Tensor:
        """Return how badly question slots tell how the object is named.

        Args:
            questions: Slots (N, S, width); what is told takes turns among those behind the
                object's and the target's.
            told: Classes of `vla_ros.learning.questions.TOLD` (N, T), negative where untold.
        """
        losses = []
        free = questions.shape[1] - 2
        for index, head in enumerate(self.told.values()):
            said = told[:, index] >= 0
            logits = head(questions[said, 2 + index % free])
            loss = functional.cross_entropy(logits, told[said, index], reduction="sum")
            losses.append(loss / said.sum().clamp(min=1))
        return torch.stack(losses).sum()

    def loss(self, slots: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and the share of sentences read without any error."""
        logits = self(slots)
        losses, right = [], torch.ones_like(labels[:, 0], dtype=torch.bool)
        for index, key in enumerate(AUXILIARY):
            losses.append(functional.cross_entropy(logits[key], labels[:, index]))
            said = labels[:, index] >= 0
            right &= (logits[key].argmax(-1) == labels[:, index]) | ~said
        return torch.stack(losses).sum(), right.float().mean()


def project(camera: CameraGeometry, point: Tensor) -> Tensor:
    """Return pixels (..., 2) of points (..., 3) [m] in the optical frame."""
    depth = point[..., 2:].clamp(min=1e-3)
    focal = point.new_tensor([camera.fx, camera.fy])
    return point[..., :2] / depth * focal + point.new_tensor([camera.cx, camera.cy])


def in_view(camera: CameraGeometry, point: Tensor, depth: Tensor, slack: Tensor) -> Tensor:
    """Return (B, K), 1 where a point is inside the image and nothing stands before it.

    Args:
        camera: The camera.
        point: (B, K, 3) [m] in the optical frame.
        depth: The depth image (B, H, W) [m], 0 = hole.
        slack: (B, K) [m] that the surface may be nearer than the point.
    """
    pixel = project(camera, point)
    column, row = pixel.round().long().unbind(-1)
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    column, row = column.clamp(0, camera.width - 1), row.clamp(0, camera.height - 1)
    batch = torch.arange(len(depth), device=depth.device)[:, None]
    surface = depth[batch, row, column]
    free = (surface < 0.01) | (surface >= point[..., 2] - slack)
    return (inside & free & (point[..., 2] > 0.02)).float()


def sighting_loss(
    sighting: Sighting, camera: CameraGeometry, point: Tensor, visible: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of the attention maps and the smooth L1 of the points.

    Args:
        sighting: Of K queries.
        camera: The camera.
        point: True positions (B, K, 3) [m] in the optical frame; anything where not visible.
        visible: (B, K) in 0 to 1.
    """
    cells = KeypointEncoder.CELLS
    stride = camera.width / cells
    centre = (project(camera, point) + 0.5) / stride - 0.5  # in cells
    axis = torch.arange(cells, dtype=torch.float32, device=point.device)
    spread = 2 * 0.6**2
    u = torch.exp(-((axis - centre[..., :1]) ** 2) / spread)
    v = torch.exp(-((axis - centre[..., 1:]) ** 2) / spread)
    heat = (v[..., :, None] * u[..., None, :]).flatten(2)
    heat = heat / heat.sum(-1, keepdim=True).clamp(min=1e-6)
    label = torch.cat([heat * visible[..., None], 1 - visible[..., None]], -1)
    attention = -(label * functional.log_softmax(sighting.logits, -1)).sum(-1).mean()
    error = (
        functional.smooth_l1_loss(sighting.point / 0.02, point / 0.02, reduction="none", beta=0.3)
        .clamp(max=8.0)
        .mean(-1)
    )
    location = (error * visible).sum() / visible.sum().clamp(min=1.0)
    return attention, location
