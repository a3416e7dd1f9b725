"""What every head takes and returns: opinions in, an action chunk out, and how wrong it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.fusion import Fused


class Action(NamedTuple):
    """`chunk` (B, horizon, n_joints) [rad], absolute; `progress` (B,) logits."""

    chunk: Tensor
    progress: Tensor


class Prefix(NamedTuple):
    """How a chunk begins that has been decided already.

    Attributes:
        chunk: (B, horizon, n_joints) [rad], absolute; anything, if finite, where nothing heeds it.
        weight: (B, horizon) how much each row pulls, 0 to 1.
        known: (B, horizon) 1 for the rows that are given; None for none.
    """

    chunk: Tensor
    weight: Tensor
    known: Tensor | None = None


class Head(nn.Module, ABC):
    """Decides from the fused opinions; what has no weight can change nothing of the decision.

    A chunk is decided as displacements from the command in force. `scale` (horizon, n_joints)
    [rad] is the spread of the demonstrations' displacements: networks and losses work in units of
    it, so that all joints and rows weigh alike.

    A subclass adds its decoder, and `progress` after that; the order is that of optimizer states.
    """

    scale: Tensor
    progress: nn.Linear

    def __init__(self, width: int, horizon: int, n_joints: int) -> None:
        """Build what all heads share; `scale` comes from the data or the bundle."""
        super().__init__()
        self.horizon, self.n_joints = horizon, n_joints
        #: Width of what `body` makes of an opinion.
        self.hidden = 3 * width
        self.body = nn.Sequential(
            nn.Linear(2 * width, self.hidden),
            nn.GELU(),
            nn.Linear(self.hidden, self.hidden),
            nn.GELU(),
        )
        self.register_buffer("scale", torch.ones(horizon, n_joints))

    @classmethod
    def from_config(cls, config: PolicyConfig) -> Self:
        """Return the head of a policy of this architecture."""
        return cls(config.width, config.horizon, config.n_joints)

    @classmethod
    def prefix_inputs(cls, config: PolicyConfig) -> tuple[str, ...]:
        """Return the parts of a `Prefix` that its graph takes; none if it heeds no prefix."""
        del config
        return ()

    @abstractmethod
    def decode(self, hidden: Tensor, weight: Tensor) -> Tensor:
        """Return the displacements (B, horizon, n_joints) in units of `scale`.

        Args:
            hidden: What `body` made of each opinion (B, K, hidden).
            weight: What each counts (B, K).
        """

    @abstractmethod
    def error(
        self, hidden: Tensor, weight: Tensor, moves: Tensor, known: Tensor | None = None
    ) -> Tensor:
        """Return how wrong each row (B,) is; called in training only, and free to draw noise.

        Args:
            hidden: What `body` made of each opinion (B, K, hidden).
            weight: What each counts (B, K).
            moves: The right displacements (B, horizon, n_joints) in units of `scale`.
            known: How many rows (B,) are given; None for heads that learn no delay.
        """

    def forward(self, fused: Fused, state_token: Tensor, command: Tensor) -> Action:
        """Return the weighed decision of all opinions; the same one for the same input.

        Args:
            fused: Opinions (B, K, width) and what each counts (B, K).
            state_token: (B, width).
            command: In force, (B, n_joints) [rad].
        """
        hidden = self._read(fused, state_token)
        moves = self.decode(hidden, fused.weight) * self.scale
        return Action(command[:, None, :] + moves, self._progress(hidden, fused.weight))

    def loss(
        self,
        fused: Fused,
        state_token: Tensor,
        command: Tensor,
        chunk: Tensor,
        progress: Tensor,
        imitate: Tensor,
        known: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of the chunk in the head's own units, and the cross-entropy of progress.

        Args:
            fused: As in `forward`; `state_token` and `command` likewise.
            state_token: (B, width).
            command: (B, n_joints) [rad].
            chunk: The right one (B, horizon, n_joints) [rad].
            progress: The right one (B,) in 0 to 1.
            imitate: (B,), 1 for the rows that count; the losses are 0 if there is none.
            known: As in `error`.
        """
        # zero times NaN is NaN: what does not count must not even be there
        counts = imitate > 0
        chunk = torch.where(counts[:, None, None], chunk, command[:, None, :])
        progress = torch.where(counts, progress, 0.0)
        hidden = self._read(fused, state_token)
        moves = (chunk - command[:, None, :]) / self.scale
        error = self.error(hidden, fused.weight, moves, known)
        doubt = functional.binary_cross_entropy_with_logits(
            self._progress(hidden, fused.weight), progress, reduction="none"
        )
        count = imitate.sum().clamp(min=1.0)
        return (error * imitate).sum() / count, (doubt * imitate).sum() / count

    def _read(self, fused: Fused, state_token: Tensor) -> Tensor:
        """Return what each opinion says beside the joint state, (B, K, hidden)."""
        state = state_token[:, None].expand_as(fused.tokens)
        return torch.as_tensor(self.body(torch.cat([fused.tokens, state], -1)))

    def _progress(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return weigh(self.progress(hidden), weight).squeeze(-1)


def weigh(opinions: Tensor, weight: Tensor) -> Tensor:
    """Return the sum (B, F) of opinions (B, K, F), each times its `weight` (B, K)."""
    return (opinions * weight[..., None]).sum(1)
