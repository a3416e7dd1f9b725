"""Flow matching: the chunk emerges from noise in a few steps, also as the rest of a begun one."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from vla_ros.core.errors import UserError
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.fusion import Fused
from vla_ros.policy.heads.head import Action, Head, Prefix, weigh

#: Sines and cosines of the flow's time, from the longest to the shortest period.
FREQUENCIES, LONGEST, SHORTEST = 16, 4.0, 0.25
#: The starting noise at run time: which draw, and its spread; training draws with a spread of 1.
NOISE_SEED, NOISE_SPREAD = 20230217, 0.3
#: Most that the guidance counts beside the velocity (beta of Black et al. 2025).
GUIDANCE = 5.0


class _Begun(NamedTuple):
    """A prefix in the head's own units, flat (B, size); `rows` (B, horizon) that are known."""

    moves: Tensor
    weight: Tensor
    known: Tensor | None
    rows: Tensor | None


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
    - A prefix, the rows that will have been executed or planned already, is heeded in two ways.
      By guidance (`Prefix.weight`; Black, Galliker, Levine 2025, arXiv:2506.07339): every step is
      pulled to where the guessed end agrees with the prefix, by the pseudoinverse guidance of Song
      et al. 2023 and Pokle et al. 2024. And, in a head that was trained with a simulated `delay`,
      as given (`Prefix.known`; Black et al. 2025, arXiv:2512.05964): those rows are clean all the
      time, and the network is told which. A network that sees the whole chunk at once takes that
      mask where a transformer's tokens take a time of 1.
    """

    noise: Tensor
    frequencies: Tensor

    def __init__(
        self, width: int, horizon: int, n_joints: int, steps: int = 8, delay: int = 0
    ) -> None:
        """Build the head.

        Args:
            width: Of a token.
            horizon: Rows of a chunk.
            n_joints: Gripper included.
            steps: Euler steps, all of them in the exported graph.
            delay: Longest simulated delay in training, in rows; 0 to train without.

        Raises:
            UserError: if there is no step, or no row behind the delay.
        """
        if steps < 1:
            raise UserError(f"flow_steps is {steps}, must be at least 1; 8 is usual")
        if not 0 <= delay < horizon:
            raise UserError(
                f"flow_delay is {delay}, must be 0 or more and below the horizon, {horizon}"
            )
        super().__init__(width, horizon, n_joints)
        self.steps, self.delay = steps, delay
        size, inner = horizon * n_joints, 2 * width
        self.condition = nn.Linear(self.hidden, inner)
        self.noisy = nn.Linear(size, inner, bias=False)
        self.time = nn.Linear(2 * FREQUENCIES, inner, bias=False)
        self.mix = nn.Sequential(nn.GELU(), nn.Linear(inner, inner), nn.GELU())
        self.end = nn.Linear(inner, size)
        self.known = nn.Linear(horizon, inner, bias=False) if delay else None
        self.progress = nn.Linear(self.hidden, 1)
        draw = torch.Generator().manual_seed(NOISE_SEED)
        self.register_buffer("noise", NOISE_SPREAD * torch.randn(size, generator=draw))
        periods = torch.logspace(math.log10(SHORTEST), math.log10(LONGEST), FREQUENCIES)
        self.register_buffer("frequencies", 2 * math.pi / periods, persistent=False)

    @classmethod
    def from_config(cls, config: PolicyConfig) -> Self:
        """Return the head with `flow_steps` steps and `flow_delay`."""
        return cls(
            config.width, config.horizon, config.n_joints, config.flow_steps, config.flow_delay
        )

    @classmethod
    def prefix_inputs(cls, config: PolicyConfig) -> tuple[str, ...]:
        """Return the parts of a prefix that it heeds."""
        names = ("prefix", "prefix_weight")
        return (*names, "prefix_known") if config.flow_delay else names

    def forward(
        self, fused: Fused, state_token: Tensor, command: Tensor, prefix: Prefix | None = None
    ) -> Action:
        """Return the decision, as the rest of a prefix if there is one.

        Args:
            fused: As in `Head.forward`; `state_token` and `command` likewise.
            state_token: (B, width).
            command: In force, (B, n_joints) [rad].
            prefix: What will have been executed; weights of 0 change nothing.
        """
        hidden = self._read(fused, state_token)
        begun = None if prefix is None else self._begun(prefix, command)
        moves = self._flow(hidden, fused.weight, begun) * self.scale
        return Action(command[:, None, :] + moves, self._progress(hidden, fused.weight))

    def decode(self, hidden: Tensor, weight: Tensor) -> Tensor:
        """Follow the velocities from `noise`."""
        return self._flow(hidden, weight, None)

    def error(
        self, hidden: Tensor, weight: Tensor, moves: Tensor, known: Tensor | None = None
    ) -> Tensor:
        """Return the squared error of the velocity at one time of one path for each row.

        Rows that are known are clean, and do not count.
        """
        end = moves.flatten(1)
        start = torch.randn_like(end)
        # 1 - time follows Beta(1.5, 1) as in π0, by the inverse of its distribution function
        early = 1.0 - torch.rand_like(end[:, :1]) ** (1 / 1.5)
        time = early * (1.0 - 1.0 / self.steps)
        chunk = (1.0 - time) * start + time * end
        condition = self.condition(hidden)
        if self.known is None or known is None:
            velocity = self._velocity(condition, weight, chunk, time)
            return (velocity - (end - start)).square().mean(1)
        rows = (torch.arange(self.horizon, device=end.device) < known[:, None]).to(end.dtype)
        given = rows.repeat_interleave(self.n_joints, 1)
        chunk = torch.where(given > 0, end, chunk)
        velocity = self._velocity(condition + self.known(rows)[:, None], weight, chunk, time)
        wrong = (velocity - (end - start)).square() * (1.0 - given)
        return wrong.sum(1) / (1.0 - given).sum(1)

    def _begun(self, prefix: Prefix, command: Tensor) -> _Begun:
        moves = ((prefix.chunk - command[:, None, :]) / self.scale).flatten(1)
        rows = None if self.known is None else prefix.known
        known = None if rows is None else rows.repeat_interleave(self.n_joints, 1)
        return _Begun(moves, prefix.weight.repeat_interleave(self.n_joints, 1), known, rows)

    def _flow(self, hidden: Tensor, weight: Tensor, begun: _Begun | None) -> Tensor:
        """Return the displacements (B, horizon, n_joints) at the end of the flow."""
        condition = self.condition(hidden)
        chunk = self.noise.expand(hidden.shape[0], -1)
        if begun is not None and self.known is not None and begun.rows is not None:
            condition = condition + self.known(begun.rows)[:, None]
        for step in range(self.steps):
            chunk = _given(chunk, begun)
            if begun is None:
                time = hidden.new_full((1, 1), step / self.steps)
                velocity = self._velocity(condition, weight, chunk, time)
            else:
                velocity = self._guided(condition, weight, chunk, step / self.steps, begun)
            chunk = chunk + velocity / self.steps
        return _given(chunk, begun).view(-1, self.horizon, self.n_joints)

    def _velocity(self, condition: Tensor, weight: Tensor, chunk: Tensor, time: Tensor) -> Tensor:
        """Return where the noisy chunk (B, size) moves at a time (B, 1) or (1, 1)."""
        mixed = self.mix(self._before(condition, chunk, time))
        return (weigh(self.end(mixed), weight) - chunk) / (1.0 - time)

    def _before(self, condition: Tensor, chunk: Tensor, time: Tensor) -> Tensor:
        """Return what `mix` is given (B, K, inner)."""
        phase = time * self.frequencies
        clock = self.time(torch.cat([phase.sin(), phase.cos()], -1))
        return torch.as_tensor(condition + (self.noisy(chunk) + clock)[:, None])

    def _guided(
        self, condition: Tensor, weight: Tensor, chunk: Tensor, at: float, begun: _Begun
    ) -> Tensor:
        """Return the velocity at a time, pulled to where its end agrees with the prefix."""
        time = chunk.new_full((1, 1), at)
        before = self._before(condition, chunk, time)
        between = self.mix[1](self.mix[0](before))
        end = weigh(self.end(self.mix[2](between)), weight)
        velocity = (end - chunk) / (1.0 - time)
        apart = begun.weight * (begun.moves - end)
        return velocity + _pull(at) * self._transposed(apart, weight, before, between)

    def _transposed(self, rest: Tensor, weight: Tensor, before: Tensor, between: Tensor) -> Tensor:
        """Return J^T rest (B, size), J being how the guessed end hangs on the noisy chunk.

        Written out, because graphs that are exported hold no derivatives: the network is three
        matrices with two bends between them.
        """
        inner = self.mix[1]
        assert isinstance(inner, nn.Linear)
        back = (rest @ self.end.weight)[:, None] * weight[..., None]  # (B, K, inner)
        back = (back * _bend(between)) @ inner.weight
        return torch.as_tensor((back * _bend(before)).sum(1) @ self.noisy.weight)


def _pull(time: float) -> float:
    """Return min(beta, (1 - t) / (t r^2)), where r^2 = (1 - t)^2 / (t^2 + (1 - t)^2)."""
    left = 1.0 - time
    return min(GUIDANCE, (time**2 + left**2) / (time * left)) if time else GUIDANCE


def _given(chunk: Tensor, begun: _Begun | None) -> Tensor:
    """Return the noisy chunk (B, size) with the rows that are known as they are."""
    if begun is None or begun.known is None:
        return chunk
    return torch.where(begun.known > 0, begun.moves, chunk)


def _bend(value: Tensor) -> Tensor:
    """Return the derivative of GELU."""
    below = 0.5 * (1.0 + torch.erf(value / math.sqrt(2.0)))
    return below + value * torch.exp(-0.5 * value.square()) / math.sqrt(2.0 * math.pi)
