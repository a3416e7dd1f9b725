"""Discrete action tokens: the chunk's frequencies, binned."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor, nn

from vla_ros.core.errors import UserError
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.heads.head import Head, weigh

#: Width of a token's features, from which its bin is told.
FEATURES = 16
#: Displacements up to so many `scale` have a bin; what is farther counts as the last one.
SPAN = 8.0
#: How much finer the bins are about 0: their centres are evenly spaced in sinh within ± this.
CURVE = 4.0


class TokensHead(Head):
    """One token for each joint and frequency of the chunk; all are told at once.

    Binned actions with cross-entropy are those of RT-2 (Brohan et al. 2023) and OpenVLA (Kim et
    al. 2024); the cosine transform along the rows is FAST's (Pertsch et al. 2025): neighbouring
    rows say nearly the same, their frequencies do not. Scaled down: no byte-pair encoding, and no
    autoregressive decoder, since a policy that answers within a control period has no time for
    `horizon * n_joints` passes. So the tokens are told independently of one another.

    - Bins: frequency k reaches `SPAN * sqrt(horizon) / (k + 1)`, as far as a chunk whose joint
      jumps once can. It counts in the loss in proportion.
    - Labels: a value between two centres is shared between their bins (two-hot, Bellemare
      et al. 2017 and Hafner et al. 2023), so nothing is lost by binning.
    - Run time: the expected value, not the likeliest bin. Tokens that are told independently would
      otherwise mix two ways of acting, some from one and some from the other; the expected values
      are those of the mean chunk. They also move smoothly where the likeliest bin flips, in torch
      and in the exported graph.
    - Opinions: their probabilities are weighed (linear opinion pool, Stone 1961).
    """

    transform: Tensor
    centres: Tensor
    emphasis: Tensor

    def __init__(self, width: int, horizon: int, n_joints: int, bins: int = 32) -> None:
        """Build the head.

        Args:
            width: Of a token of the fusion.
            horizon: Rows of a chunk, and frequencies.
            n_joints: Gripper included.
            bins: Of each frequency and joint.

        Raises:
            UserError: if there are fewer bins than two.
        """
        if bins < 2:
            raise UserError(f"action_bins is {bins}, must be at least 2; 32 is usual")
        super().__init__(width, horizon, n_joints)
        self.features = nn.Linear(self.hidden, horizon * n_joints * FEATURES)
        self.bins = nn.Linear(FEATURES, bins)
        self.progress = nn.Linear(self.hidden, 1)
        fall = 1.0 / torch.arange(1, horizon + 1)
        even = torch.sinh(CURVE * torch.linspace(-1, 1, bins)) / math.sinh(CURVE)
        centres = SPAN * math.sqrt(horizon) * fall[:, None, None] * even  # (H, 1, bins)
        self.register_buffer("transform", _cosines(horizon), persistent=False)
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("emphasis", (fall / fall.mean())[:, None], persistent=False)

    @classmethod
    def from_config(cls, config: PolicyConfig) -> Self:
        """Return the head with `action_bins` bins."""
        return cls(config.width, config.horizon, config.n_joints, config.action_bins)

    def decode(self, hidden: Tensor, weight: Tensor) -> Tensor:
        """Return the chunk of the expected frequencies."""
        expected = (torch.softmax(self._logits(hidden), -1) * self.centres).sum(-1)
        pooled = weigh(expected.flatten(2), weight).view(-1, self.horizon, self.n_joints)
        return self.transform.T @ pooled

    def error(
        self, hidden: Tensor, weight: Tensor, moves: Tensor, known: Tensor | None = None
    ) -> Tensor:
        """Return the cross-entropy of each row's tokens [nat], less what the labels' own is."""
        label = self.label(self.transform @ moves)
        told = torch.log_softmax(self._logits(hidden), -1)
        # the logarithm of 0 is right, but its gradient is none: it is put in afterwards
        there = weight > 0
        share = torch.where(there, weight, 1.0).log().masked_fill(~there, -torch.inf)
        pooled = torch.logsumexp(told + share[..., None, None, None], 1)
        divergence = -(label * pooled) - torch.special.entr(label)
        return torch.as_tensor((divergence.sum(-1) * self.emphasis).mean((1, 2)))

    def _logits(self, hidden: Tensor) -> Tensor:
        """Return (B, K, horizon, n_joints, bins)."""
        shape = (*hidden.shape[:2], self.horizon, self.n_joints, FEATURES)
        return torch.as_tensor(self.bins(self.features(hidden).view(shape)))

    def label(self, values: Tensor) -> Tensor:
        """Return shares (B, horizon, n_joints, bins) whose expected value is `values`."""
        centres = self.centres
        # torch.clamp takes no bounds of this shape that would leave NaN to be seen
        within = torch.minimum(torch.maximum(values, centres[..., 0]), centres[..., -1])[..., None]
        gap = centres.diff(dim=-1)
        ones = torch.ones_like(gap[..., :1])
        above = (within - centres) / torch.cat([gap, ones], -1)
        below = (centres - within) / torch.cat([ones, gap], -1)
        return (1.0 - torch.maximum(above, below)).clamp(min=0.0)


def _cosines(count: int) -> Tensor:
    """Return the orthonormal DCT-II (frequencies, rows) of so many rows."""
    row = torch.arange(count, dtype=torch.float64)
    waves = torch.cos(math.pi * row[:, None] * (row + 0.5) / count) * math.sqrt(2.0 / count)
    waves[0] /= math.sqrt(2.0)
    return waves.float()
