"""What every IMU encoder takes and returns."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from vla_ros.policy.fusion.streams import Stream

#: Three angular velocities and three accelerations.
AXES = 6


class ImuEncoder(nn.Module, ABC):
    """Makes tokens of a window of IMU readings. An encoder is built from a `PolicyConfig`."""

    @abstractmethod
    def forward(self, window: Tensor, there: Tensor) -> Stream:
        """Return the tokens of a window.

        Args:
            window: Standardized readings (B, T, 6), the newest last.
            there: (B, 1), 1 for a window that was measured.
        """
