"""From the fused token to an action chunk."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Action(NamedTuple):
    """`chunk` (B, horizon, n_joints) [rad], absolute; `progress` (B,) logits."""

    chunk: Tensor
    progress: Tensor


class ChunkHead(nn.Module):
    """Regresses the chunk as displacements from the command in force.

    `scale` (horizon, n_joints) [rad] is the spread of the demonstrations' displacements, so that
    the loss weighs all joints and rows alike.
    """

    scale: Tensor

    def __init__(self, width: int, horizon: int, n_joints: int) -> None:
        """Build the head; `scale` comes from the data or the bundle."""
        super().__init__()
        self.horizon, self.n_joints = horizon, n_joints
        self.body = nn.Sequential(
            nn.Linear(2 * width, 3 * width), nn.GELU(), nn.Linear(3 * width, 3 * width), nn.GELU()
        )
        self.displacement = nn.Linear(3 * width, horizon * n_joints)
        self.progress = nn.Linear(3 * width, 1)
        self.register_buffer("scale", torch.ones(horizon, n_joints))

    def forward(self, fused: Tensor, state_token: Tensor, command: Tensor) -> Action:
        """Return the action from fused and state tokens (B, width) and command (B, n_joints)."""
        hidden = self.body(torch.cat([fused, state_token], -1))
        moves = self.displacement(hidden).view(-1, self.horizon, self.n_joints) * self.scale
        return Action(command[:, None, :] + moves, self.progress(hidden).squeeze(-1))
