"""Forward kinematics inside the network: where the hand is, from the joint positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vla_ros.policy.configuration import KinematicTree


class ForwardKinematics(nn.Module):
    """Differentiable chain from base to hand and tcp. It has no parameters."""

    origins: Tensor
    cross: Tensor
    outer: Tensor
    tip: Tensor

    def __init__(self, tree: KinematicTree) -> None:
        """Keep the chain as buffers."""
        super().__init__()
        origins = torch.tensor(tree.origins, dtype=torch.float32)  # (n, 4, 4)
        axes = torch.tensor(tree.axes, dtype=torch.float32)  # (n, 3)
        x, y, z = axes.unbind(1)
        zero = torch.zeros_like(x)
        cross = torch.stack(
            [torch.stack(row, 1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))], 1
        )
        self.register_buffer("origins", origins, persistent=False)
        self.register_buffer("cross", cross, persistent=False)
        self.register_buffer("outer", axes[:, :, None] * axes[:, None, :], persistent=False)
        self.register_buffer("tip", torch.tensor(tree.tip, dtype=torch.float32), persistent=False)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the hand's rotation (B, 3, 3), its origin (B, 3) [m] and the tcp (B, 3) [m].

        Args:
            positions: Joint positions (B, >= n) [rad] in the chain's order.
        """
        batch = positions.shape[0]
        rotation = torch.eye(3, device=positions.device).expand(batch, 3, 3)
        origin = torch.zeros(batch, 3, device=positions.device)
        eye = torch.eye(3, device=positions.device)
        for index in range(self.origins.shape[0]):
            step = self.origins[index]
            origin = origin + (rotation @ step[:3, 3:4]).squeeze(2)
            angle = positions[:, index, None, None]
            turn = (
                torch.cos(angle) * (eye - self.outer[index])
                + torch.sin(angle) * self.cross[index]
                + self.outer[index]
            )
            rotation = rotation @ step[:3, :3] @ turn
        tcp = origin + (rotation @ self.tip[:3, 3:4]).squeeze(2)
        return rotation, origin, tcp
