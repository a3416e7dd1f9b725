"""IMU encoder `gru`: a recurrent net along time."""

from __future__ import annotations

from torch import Tensor, nn

from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.encoders.imu import AXES, ImuEncoder
from vla_ros.policy.fusion.streams import Stream

HIDDEN = 48


class GruImuEncoder(ImuEncoder):
    """A gated recurrent unit (Cho et al. 2014) reads the window; its last state is the token."""

    def __init__(self, config: PolicyConfig) -> None:
        """Build the layers."""
        super().__init__()
        self.read = nn.GRU(AXES, HIDDEN, batch_first=True)
        self.out = nn.Linear(HIDDEN, config.width)

    def forward(self, window: Tensor, there: Tensor) -> Stream:
        """Return one token (B, 1, W) of a window (B, T, 6)."""
        states, _ = self.read(window)
        token: Tensor = self.out(states[:, -1:])
        return Stream(token, there)
