"""What every head must do: subclass `HeadConformance` in a test file of the head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vla_ros.policy.fusion import Fused
from vla_ros.policy.heads import Action, Head
from vla_ros.testing.exported import run_exported

WIDTH, HORIZON, JOINTS, BATCH = 16, 6, 3, 4
#: What each of the opinions counts in the tests; the second is missing.
WEIGHTS = (0.5, 0.0, 0.3, 0.2)
PARITY = 1e-4
#: Of the optimizer, to learn a handful of rows by heart.
STEPS = 600


class Situation(NamedTuple):
    """What a head is asked, and in what order: its `forward` takes these."""

    fused: Fused
    state_token: Tensor
    command: Tensor


class Imitated(NamedTuple):
    """What a head is taught beside a situation: the rest of what its `loss` takes."""

    chunk: Tensor
    progress: Tensor
    imitate: Tensor


class HeadConformance(ABC):
    """The tests; a subclass says what is tested."""

    #: How far any joint of a learned chunk may be off [units of `scale`].
    tolerance = 0.02

    @abstractmethod
    def make_head(self, width: int, horizon: int, n_joints: int) -> Head:
        """Return the head, with weights of its own choice."""

    @pytest.fixture
    def head(self) -> Head:
        """The head as it begins, for joints that move differently far."""
        torch.manual_seed(0)
        head = self.make_head(WIDTH, HORIZON, JOINTS).eval()
        head.scale.copy_(make_scale())
        return head

    def test_chunk_and_progress_have_their_shapes(self, head: Head) -> None:
        """One chunk and one logit for each row, however many opinions there are."""
        for count in (1, 3):
            fused = Fused(torch.randn(BATCH, count, WIDTH), torch.full((BATCH, count), 1 / count))
            action = head(*make_situation(0)._replace(fused=fused))
            assert action.chunk.shape == (BATCH, HORIZON, JOINTS)
            assert action.progress.shape == (BATCH,)
            assert torch.isfinite(action.chunk).all()

    def test_the_same_input_gives_the_same_chunk(self, head: Head) -> None:
        """Whatever was drawn before."""
        actions = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            actions.append(head(*make_situation(0)))
        _assert_same(*actions)

    def test_a_chunk_begins_at_the_command_in_force(self, head: Head) -> None:
        """Displacements are decided; where they start from does not matter to them."""
        situation = make_situation(0)
        chunk = head(*situation).chunk
        moved = head(*situation._replace(command=situation.command + 1.0)).chunk
        torch.testing.assert_close(moved, chunk + 1.0)

    def test_displacements_are_in_units_of_the_scale(self, head: Head) -> None:
        """What moves twice as far is told twice as far."""
        situation = make_situation(0)
        moves = head(*situation).chunk - situation.command[:, None]
        head.scale.mul_(2.0)
        twice = head(*situation).chunk - situation.command[:, None]
        torch.testing.assert_close(twice, 2.0 * moves)

    def test_an_opinion_without_weight_can_change_nothing_at_all(self, head: Head) -> None:
        """Bit for bit: neither what is decided nor what is learned."""
        situation, lesson = make_situation(0), make_imitated(0)
        other = situation.fused.tokens.clone()
        other[:, WEIGHTS.index(0.0)] = make_situation(1).fused.tokens[:, 0]
        changed = situation._replace(fused=situation.fused._replace(tokens=other))
        assert not torch.equal(other, situation.fused.tokens)
        _assert_same(head(*situation), head(*changed))
        losses, gradients = [], []
        for case in (situation, changed):
            losses.append(torch.stack(_losses(head, case, lesson)))
            gradients.append(_gradients(head, losses[-1].sum()))
        assert torch.equal(*losses)
        for name, value in gradients[0].items():
            assert torch.equal(value, gradients[1][name]), name

    @pytest.mark.parametrize("opinion", [k for k, weight in enumerate(WEIGHTS) if weight > 0])
    def test_every_opinion_that_has_weight_counts(self, head: Head, opinion: int) -> None:
        """None is overlooked."""
        situation = make_situation(0)
        before = head(*situation)
        situation.fused.tokens[:, opinion] = make_situation(1).fused.tokens[:, opinion]
        for old, new in zip(before, head(*situation), strict=True):
            assert (old - new).abs().amax() > 1e-4

    def test_weights_can_be_learned_even_where_one_is_none(self, head: Head) -> None:
        """A missing opinion gives its weight no gradient, and spoils no other one's."""
        situation = make_situation(0)
        weight = situation.fused.weight.clone().requires_grad_()
        fused = situation.fused._replace(weight=weight)
        losses = _losses(head, situation._replace(fused=fused), make_imitated(0))
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        assert weight.grad is not None
        assert torch.isfinite(weight.grad).all()
        assert (weight.grad[:, [k for k, w in enumerate(WEIGHTS) if w > 0]] != 0).any(0).all()

    def test_rows_of_a_batch_do_not_mix(self, head: Head) -> None:
        """One robot's command is not another one's."""
        situation = make_situation(0)
        fused = Fused(*(value[1:2] for value in situation.fused))
        alone = head(fused, situation.state_token[1:2], situation.command[1:2])
        for one, whole in zip(alone, head(*situation), strict=True):
            torch.testing.assert_close(one, whole[1:2])

    @pytest.mark.parametrize("wrong", [7.0, float("nan")])
    def test_rows_that_are_not_imitated_do_not_count(self, head: Head, wrong: float) -> None:
        """Whatever they hold, even what is no number."""
        situation, lesson = make_situation(0), make_imitated(0)
        lesson.imitate[1] = 0.0
        results = []
        for value in (0.0, wrong):
            lesson.chunk[1], lesson.progress[1] = value, value
            losses = torch.stack(_losses(head, situation, lesson))
            assert torch.isfinite(losses).all()
            results.append((losses, _gradients(head, losses.sum())))
        assert torch.equal(results[0][0], results[1][0])
        for name, gradient in results[0][1].items():
            assert torch.equal(gradient, results[1][1][name]), name

    def test_without_any_row_to_imitate_there_is_nothing_to_learn(self, head: Head) -> None:
        """No loss and no gradient, instead of a division by none."""
        lesson = make_imitated(0)
        lesson.imitate.zero_()
        losses = torch.stack(_losses(head, make_situation(0), lesson))
        assert torch.equal(losses, torch.zeros(2))
        assert not any(bool(g.any()) for g in _gradients(head, losses.sum()).values())

    def test_a_loss_is_the_mean_of_the_rows_that_count(self, head: Head) -> None:
        """Rows that do not count do not dilute it."""
        situation, lesson = make_situation(0), make_imitated(0)
        whole = torch.stack(_losses(head, situation, lesson))
        alone = []
        for row in range(BATCH):
            only = lesson._replace(imitate=torch.eye(BATCH)[row])
            alone.append(torch.stack(_losses(head, situation, only)))
        torch.testing.assert_close(torch.stack(alone).mean(0), whole)

    def test_a_target_that_is_no_number_shows_in_the_loss(self, head: Head) -> None:
        """The trainer stops at it, instead of learning around it."""
        lesson = make_imitated(0)
        lesson.chunk[0, 1, 2] = float("nan")
        assert torch.isnan(_losses(head, make_situation(0), lesson)[0])

    def test_every_parameter_learns(self, head: Head) -> None:
        """No layer is built and not used."""
        losses = _losses(head, make_situation(0), make_imitated(0))
        gradients = _gradients(head, torch.stack(losses).sum())
        assert [name for name, value in gradients.items() if not bool((value != 0).any())] == []

    def test_what_was_learned_is_what_is_done(self, head: Head) -> None:
        """A handful of rows, by heart: the loss falls, and the chunks come back."""
        situation, lesson = make_situation(0), make_imitated(0)
        optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
        seen = []
        torch.manual_seed(0)
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = 3e-3 * (1.0 - step / STEPS)
            losses = torch.stack(head.loss(*situation, *lesson))
            optimizer.zero_grad()
            losses.sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            seen.append(float(losses[0].detach()))
        assert np.mean(seen[-50:]) < 0.05 * np.mean(seen[:10])
        with torch.no_grad():
            action = head(*situation)
        off = ((action.chunk - lesson.chunk) / head.scale).abs()
        assert float(off.max()) <= self.tolerance
        assert float((torch.sigmoid(action.progress) - lesson.progress).abs().max()) <= 0.02

    def test_what_was_saved_is_what_is_loaded(self, head: Head, tmp_path: Path) -> None:
        """Through safetensors, as in a bundle."""
        save_file(head.state_dict(), tmp_path / "head.safetensors")
        torch.manual_seed(1)
        again = self.make_head(WIDTH, HORIZON, JOINTS).eval()
        again.load_state_dict(load_file(tmp_path / "head.safetensors"))
        _assert_same(head(*make_situation(0)), again(*make_situation(0)))

    def test_onnx_runtime_computes_what_torch_does(self, head: Head, tmp_path: Path) -> None:
        """With an opinion missing, and with another one missing."""
        flat, path = _Flat(head).eval(), tmp_path / "head.onnx"
        run = run_exported(flat, _flatten(make_situation(0, batch=1)), path)
        for seed, missing in ((1, 1), (2, 0)):
            situation = make_situation(seed, batch=1)
            situation.fused.weight[:] = torch.tensor(WEIGHTS).roll(missing)
            inputs = _flatten(situation)
            with torch.no_grad():
                expected = flat(*inputs)
            for found, value in zip(run(inputs), expected, strict=True):
                assert np.abs(found - value.numpy()).max() <= PARITY


def make_scale() -> Tensor:
    """Return a spread of displacements (HORIZON, JOINTS) [rad] that grows along the chunk."""
    return 0.02 * torch.arange(1.0, HORIZON + 1)[:, None] * torch.tensor([0.5, 1.0, 2.0])


def make_situation(seed: int, batch: int = BATCH) -> Situation:
    """Return random opinions, one of which is missing, and where the arm is."""
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randn(batch, len(WEIGHTS), WIDTH, generator=draw)
    fused = Fused(tokens, torch.tensor(WEIGHTS).repeat(batch, 1))
    state, command = (torch.randn(batch, size, generator=draw) for size in (WIDTH, JOINTS))
    return Situation(fused, state, command)


def make_imitated(seed: int, batch: int = BATCH) -> Imitated:
    """Return what would be right in `make_situation(seed)`: joints that speed up or slow down."""
    draw = torch.Generator().manual_seed(seed + 1000)
    pace, change = torch.randn(2, batch, 1, JOINTS, generator=draw)
    moves = (pace + change * torch.linspace(-1, 1, HORIZON)[:, None]) * make_scale()
    command = make_situation(seed, batch).command
    progress = torch.rand(batch, generator=draw)
    return Imitated(command[:, None] + moves, progress, torch.ones(batch))


def _losses(head: Head, situation: Situation, lesson: Imitated) -> tuple[Tensor, Tensor]:
    """Return the losses with the same noise every time."""
    torch.manual_seed(0)
    return head.loss(*situation, *lesson)


def _gradients(head: Head, loss: Tensor) -> dict[str, Tensor]:
    head.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    return {
        name: torch.zeros_like(value) if value.grad is None else value.grad.clone()
        for name, value in head.named_parameters()
    }


def _assert_same(one: Action, other: Action) -> None:
    for before, after in zip(one, other, strict=True):
        assert torch.equal(before, after)


def _flatten(situation: Situation) -> tuple[Tensor, ...]:
    return *situation.fused, situation.state_token, situation.command


class _Flat(nn.Module):
    """A head with flat inputs and outputs, as a graph has them."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(
        self, tokens: Tensor, weight: Tensor, state_token: Tensor, command: Tensor
    ) -> tuple[Tensor, Tensor]:
        action: Action = self.head(Fused(tokens, weight), state_token, command)
        return action.chunk, action.progress
