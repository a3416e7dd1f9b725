"""IMU encoder `conv`: convolutions along time."""

from __future__ import annotations

from torch import Tensor, nn

from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.encoders.imu import AXES, ImuEncoder
from vla_ros.policy.fusion.streams import Stream

CHANNELS = 32


class ConvImuEncoder(nn.Sequential, ImuEncoder):
    """Two strided convolutions and a linear layer over what is left of the window.

    As DeepConvLSTM (Ordóñez and Roggen 2016) begins, without its recurrence.
    """

    def __init__(self, config: PolicyConfig) -> None:
        """Build the layers for a window of `config.imu_window` readings."""
        left = ((config.imu_window - 5) // 2 + 1 - 3) // 2 + 1
        super().__init__(
            nn.Conv1d(AXES, CHANNELS, 5, stride=2),
            nn.GELU(),
            nn.Conv1d(CHANNELS, CHANNELS, 3, stride=2),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(CHANNELS * left, config.width),
        )

    def forward(self, window: Tensor, there: Tensor) -> Stream:  # type: ignore[override]
        """Return one token (B, 1, W) of a window (B, T, 6)."""
        window = window.transpose(1, 2)
        token: Tensor = nn.Sequential.forward(self, window)  # type: ignore[no-untyped-call]
        return Stream(token[:, None], there)
