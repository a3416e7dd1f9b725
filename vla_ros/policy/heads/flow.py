"""Flow matching: the chunk emerges from noise in a few steps."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor, nn

from vla_ros.core.errors import UserError
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.heads.head import Head, weigh

#: Sines and cosines of the flow's time, from the longest to the shortest period.
FREQUENCIES, LONGEST, SHORTEST = 16, 4.0, 0.25
#: The starting noise at run time: which draw, and its spread; training draws with a spread of 1.
NOISE_SEED, NOISE_SPREAD = 20230217, 0.3


class FlowHead(Head):
    """A velocity network carries noise (time 0) to displacements (time 1) in Euler steps.

    Conditional flow matching on straight paths (Lipman et al. 2023; Liu et al. 2023), as in π0
    (Black et al. 2024), whose emphasis on early times is kept. Scaled down from an action expert
    of 300 million parameters to a perceptron that sees the noisy chunk, the time and the opinion.

    - The network guesses the path's end; the velocity is the way there over the time that is left.
      No Euler step asks later than 1 - 1/steps, so training draws no later time either.
    - The opinions' velocities are weighed in every step: all move the same noisy chunk.
    - At run time the flow starts from the buffer `noise` (horizon * n_joints,), one normal draw
      times `NOISE_SPREAD` that is saved with the weights. The same input gives the same chunk, in
      torch and in the exported graph. The small spread keeps it near what is most often right;
      being a draw, it does not stop halfway between two ways that are equally right.
    """

    noise: Tensor
    frequencies: Tensor

    def __init__(self, width: int, horizon: int, n_joints: int, steps: int = 8) -> None:
        """Build the head.

        Args:
            width: Of a token.
            horizon: Rows of a chunk.
            n_joints: Gripper included.
            steps: Euler steps, all of them in the exported graph.

        Raises:
            UserError: if there is no step.
        """
        if steps < 1:
            raise UserError(f"flow_steps is {steps}, must be at least 1; 8 is usual")
        super().__init__(width, horizon, n_joints)
        self.steps = steps
        size, inner = horizon * n_joints, 2 * width
        self.condition = nn.Linear(self.hidden, inner)
        self.noisy = nn.Linear(size, inner, bias=False)
        self.time = nn.Linear(2 * FREQUENCIES, inner, bias=False)
        self.mix = nn.Sequential(nn.GELU(), nn.Linear(inner, inner), nn.GELU())
        self.end = nn.Linear(inner, size)
        self.progress = nn.Linear(self.hidden, 1)
        draw = torch.Generator().manual_seed(NOISE_SEED)
        self.register_buffer("noise", NOISE_SPREAD * torch.randn(size, generator=draw))
        periods = torch.logspace(math.log10(SHORTEST), math.log10(LONGEST), FREQUENCIES)
        self.register_buffer("frequencies", 2 * math.pi / periods, persistent=False)

    @classmethod
    def from_config(cls, config: PolicyConfig) -> Self:
        """Return the head with `flow_steps` steps."""
        return cls(config.width, config.horizon, config.n_joints, config.flow_steps)

    def decode(self, hidden: Tensor, weight: Tensor) -> Tensor:
        """Follow the velocities from `noise`."""
        condition = self.condition(hidden)
        chunk = self.noise.expand(hidden.shape[0], -1)
        for step in range(self.steps):
            time = hidden.new_full((1, 1), step / self.steps)
            chunk = chunk + self._velocity(condition, weight, chunk, time) / self.steps
        return chunk.view(-1, self.horizon, self.n_joints)

    def error(self, hidden: Tensor, weight: Tensor, moves: Tensor) -> Tensor:
        """Return the squared error of the velocity at one time of one path for each row."""
        end = moves.flatten(1)
        start = torch.randn_like(end)
        # 1 - time follows Beta(1.5, 1) as in π0, by the inverse of its distribution function
        early = 1.0 - torch.rand_like(end[:, :1]) ** (1 / 1.5)
        time = early * (1.0 - 1.0 / self.steps)
        chunk = (1.0 - time) * start + time * end
        velocity = self._velocity(self.condition(hidden), weight, chunk, time)
        return (velocity - (end - start)).square().mean(1)

    def _velocity(self, condition: Tensor, weight: Tensor, chunk: Tensor, time: Tensor) -> Tensor:
        """Return where the noisy chunk (B, size) moves at a time (B, 1) or (1, 1)."""
        phase = time * self.frequencies
        clock = self.time(torch.cat([phase.sin(), phase.cos()], -1))
        mixed = self.mix(condition + (self.noisy(chunk) + clock)[:, None])
        return (weigh(self.end(mixed), weight) - chunk) / (1.0 - time)
