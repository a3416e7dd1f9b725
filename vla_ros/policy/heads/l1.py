"""L1 regression of the chunk."""

from __future__ import annotations

from torch import Tensor, nn

from vla_ros.policy.heads.head import Head, weigh


class L1Head(Head):
    """Regresses the displacements; half of what might be right lies on either side of them.

    The L1 chunk regression of ACT (Zhao et al. 2023), here from one token by a perceptron instead
    of a transformer decoder, and without the latent style variable.
    """

    def __init__(self, width: int, horizon: int, n_joints: int) -> None:
        """Build the head."""
        super().__init__(width, horizon, n_joints)
        self.displacement = nn.Linear(self.hidden, horizon * n_joints)
        self.progress = nn.Linear(self.hidden, 1)

    def decode(self, hidden: Tensor, weight: Tensor) -> Tensor:
        """Return the weighed displacements."""
        return weigh(self.displacement(hidden), weight).view(-1, self.horizon, self.n_joints)

    def error(
        self, hidden: Tensor, weight: Tensor, moves: Tensor, known: Tensor | None = None
    ) -> Tensor:
        """Return the mean absolute error of each row, in units of `scale`."""
        return (self.decode(hidden, weight) - moves).abs().mean((1, 2))
