"""What every fusion must do together with every head: subclass `DecisionConformance` in a test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vla_ros.policy.fusion import FUSIONS, STREAMS, Fused, Fusion, Stream, find_fusion
from vla_ros.policy.heads import HEADS, Action, Head, find_head
from vla_ros.testing.exported import run_exported
from vla_ros.testing.fusion_conformance import BATCH, OPTIONAL, TOKENS, WIDTH, make_streams
from vla_ros.testing.head_conformance import (
    HORIZON,
    JOINTS,
    PARITY,
    Imitated,
    make_imitated,
    make_scale,
)


class Decision(nn.Module):
    """A fusion and the head behind it, with flat inputs and outputs as a graph has them."""

    def __init__(self, fusion: Fusion, head: Head) -> None:
        """Put them one behind the other."""
        super().__init__()
        self.fusion, self.head = fusion, head

    def forward(self, command: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        """Return chunk and progress.

        Args:
            command: In force, (B, n_joints) [rad].
            values: Tokens and mask of each of `STREAMS`, in that order.
        """
        pairs = zip(values[::2], values[1::2], strict=True)
        streams = {name: Stream(*pair) for name, pair in zip(STREAMS, pairs, strict=True)}
        action: Action = self.head(*self._context(streams), command)
        return action.chunk, action.progress

    def losses(self, command: Tensor, streams: Mapping[str, Stream], lesson: Imitated) -> Tensor:
        """Return the losses of chunk and progress (2,), with the same noise every time."""
        torch.manual_seed(0)
        return torch.stack(self.head.loss(*self._context(streams), command, *lesson))

    def _context(self, streams: Mapping[str, Stream]) -> tuple[Fused, Tensor]:
        return self.fusion(streams), streams["state"].tokens[:, 0]


class DecisionConformance:
    """The tests, on every pair of a fusion and a head that are registered.

    Override the fixtures `fusion` and `head` to test fewer, or how they are made to test others.
    """

    @pytest.fixture(params=FUSIONS)
    def fusion(self, request: pytest.FixtureRequest) -> str:
        """Name of the fusion."""
        return str(request.param)

    @pytest.fixture(params=HEADS)
    def head(self, request: pytest.FixtureRequest) -> str:
        """Name of the head."""
        return str(request.param)

    def make_fusion(self, name: str) -> Fusion:
        """Return a fusion of tokens of `WIDTH`."""
        return find_fusion(name)(WIDTH, heads=2, layers=2, feedforward=24)

    def make_head(self, name: str) -> Head:
        """Return a head for tokens of `WIDTH` and chunks of `HORIZON` rows for `JOINTS`."""
        return find_head(name)(WIDTH, HORIZON, JOINTS)

    @pytest.fixture
    def decision(self, fusion: str, head: str) -> Decision:
        """The pair as if it had been trained a little: no gate closed, no weight zero."""
        torch.manual_seed(0)
        decision = Decision(self.make_fusion(fusion), self.make_head(head)).eval()
        decision.head.scale.copy_(make_scale())
        with torch.no_grad():
            for value in decision.parameters():
                value.add_(0.05 * torch.randn_like(value))
        return decision

    @pytest.mark.parametrize("missing", [(name,) for name in OPTIONAL] + [OPTIONAL])
    def test_what_is_masked_can_change_nothing_at_all(
        self, decision: Decision, missing: tuple[str, ...]
    ) -> None:
        """Bit for bit, neither what is decided nor what is learned."""
        lesson = make_imitated(0, BATCH)
        outcomes = []
        for seed in (1, 2):
            streams, other = make_streams(0), make_streams(seed)
            for name in missing:
                streams[name] = Stream(other[name].tokens, torch.zeros(BATCH, TOKENS[name]))
            losses = decision.losses(make_command(), streams, lesson)
            outcomes.append((*decision(*_flatten(make_command(), streams)), losses))
        for before, after in zip(*outcomes, strict=True):
            assert torch.isfinite(before).all()
            assert torch.equal(before, after)

    @pytest.mark.parametrize("name", STREAMS)
    def test_what_is_there_counts(self, decision: Decision, name: str) -> None:
        """No modality is overlooked."""
        streams = make_streams(0)
        before = decision(*_flatten(make_command(), streams))
        streams[name] = make_streams(1)[name]
        for old, new in zip(before, decision(*_flatten(make_command(), streams)), strict=True):
            assert (new - old).abs().max() > 1e-5

    def test_every_parameter_learns(self, decision: Decision) -> None:
        """From the head's loss back to the fusion's first layer."""
        losses = decision.losses(make_command(), make_streams(0), make_imitated(0, BATCH))
        losses.sum().backward()  # type: ignore[no-untyped-call]
        idle = [
            name
            for name, value in decision.named_parameters()
            if value.grad is None or not bool((value.grad != 0).any())
        ]
        assert idle == []

    def test_what_was_saved_is_what_is_loaded(
        self, decision: Decision, fusion: str, head: str, tmp_path: Path
    ) -> None:
        """Through safetensors, as in a bundle."""
        save_file(decision.state_dict(), tmp_path / "decision.safetensors")
        torch.manual_seed(1)
        again = Decision(self.make_fusion(fusion), self.make_head(head)).eval()
        again.load_state_dict(load_file(tmp_path / "decision.safetensors"))
        inputs = _flatten(make_command(), make_streams(0))
        for before, after in zip(decision(*inputs), again(*inputs), strict=True):
            assert torch.equal(before, after)

    def test_onnx_runtime_computes_what_torch_does(
        self, decision: Decision, tmp_path: Path
    ) -> None:
        """With everything there, and with what may be missing gone."""
        example = _flatten(make_command(1), make_streams(0, batch=1))
        run = run_exported(decision, example, tmp_path / "decision.onnx")
        for seed, missing in ((1, ()), (2, OPTIONAL)):
            streams = make_streams(seed, batch=1)
            for name in missing:
                streams[name] = Stream(streams[name].tokens, torch.zeros(1, TOKENS[name]))
            inputs = _flatten(make_command(1), streams)
            with torch.no_grad():
                expected = decision(*inputs)
            for found, value in zip(run(inputs), expected, strict=True):
                assert np.abs(found - value.numpy()).max() <= PARITY


def make_command(batch: int = BATCH) -> Tensor:
    """Return the command in force (B, JOINTS) [rad]."""
    return torch.linspace(-1.0, 1.0, batch * JOINTS).view(batch, JOINTS)


def _flatten(command: Tensor, streams: Mapping[str, Stream]) -> tuple[Tensor, ...]:
    return command, *(value for name in STREAMS for value in streams[name])
