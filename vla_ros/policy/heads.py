"""From the fused token to an action chunk."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vla_ros.policy.fusion import Fused


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

    def forward(self, fused: Fused, state_token: Tensor, command: Tensor) -> Action:
        """Return the weighed decision of all opinions.

        Args:
            fused: Opinions (B, K, width) and what each counts (B, K).
            state_token: (B, width).
            command: In force, (B, n_joints) [rad].
        """
        state = state_token[:, None].expand_as(fused.tokens)
        hidden = self.body(torch.cat([fused.tokens, state], -1))
        weight = fused.weight[..., None]
        moves = (self.displacement(hidden) * weight).sum(1)
        moves = moves.view(-1, self.horizon, self.n_joints) * self.scale
        progress = (self.progress(hidden) * weight).sum(1).squeeze(-1)
        return Action(command[:, None, :] + moves, progress)
