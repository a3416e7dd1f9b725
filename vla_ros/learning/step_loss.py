"""The loss of one step as one module, whose gradients several processes can average."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vla_ros.learning.grounding_losses import Terms
from vla_ros.learning.losses import Losses


class StepLoss(nn.Module):
    """The loss of one step as a module, whose gradients the processes average."""

    def __init__(self, networks: nn.Module, losses: Losses) -> None:
        """Sum up `losses`, which run `networks`."""
        super().__init__()
        self.networks = networks
        self._losses = losses

    def forward(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of this process's share of a batch, and every term."""
        terms: Terms = self._losses()
        total = torch.stack(
            [value * weight for value, weight in terms.values() if weight > 0]
        ).sum()
        return total, {key: value.detach() for key, (value, _) in terms.items()}
