"""The flow head goes on from a begun chunk: pulled to it, or given its first rows."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from vla_ros.core.errors import UserError
from vla_ros.policy.fusion import Fused
from vla_ros.policy.heads import FlowHead, Prefix

WIDTH, HORIZON, JOINTS, BATCH, OPINIONS = 16, 6, 3, 4, 5


def make_head(delay: int = 3) -> FlowHead:
    torch.manual_seed(0)
    return FlowHead(WIDTH, HORIZON, JOINTS, delay=delay).eval()


def make_situation() -> tuple[Fused, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    weight = torch.softmax(torch.randn(BATCH, OPINIONS, generator=draw), 1)
    fused = Fused(torch.randn(BATCH, OPINIONS, WIDTH, generator=draw), weight)
    state = torch.randn(BATCH, WIDTH, generator=draw)
    return fused, state, torch.randn(BATCH, JOINTS, generator=draw)


def make_prefix(weight: float, known: int = 0) -> Prefix:
    draw = torch.Generator().manual_seed(2)
    rows = torch.arange(HORIZON).expand(BATCH, -1)
    return Prefix(
        torch.randn(BATCH, HORIZON, JOINTS, generator=draw),
        torch.full((BATCH, HORIZON), weight),
        (rows < known).float(),
    )


def test_the_transposed_jacobian_is_that_of_autograd() -> None:
    head = make_head()
    draw = torch.Generator().manual_seed(3)
    condition = torch.randn(BATCH, OPINIONS, 2 * WIDTH, generator=draw)
    weight = torch.rand(BATCH, OPINIONS, generator=draw)
    chunk, rest = torch.randn(2, BATCH, HORIZON * JOINTS, generator=draw)
    time = torch.full((1, 1), 0.375)

    def end(noisy: Tensor) -> Tensor:
        return head._velocity(condition, weight, noisy, time) * (1 - time) + noisy

    _, expected = torch.autograd.functional.vjp(end, chunk, rest)  # type: ignore[no-untyped-call]
    before = head._before(condition, chunk, time)
    between = head.mix[1](head.mix[0](before))
    found = head._transposed(rest, weight, before, between)
    assert expected.abs().max() > 0.05
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("delay", [0, 3])
@torch.no_grad()
def test_a_prefix_without_weight_changes_nothing_bit_for_bit(delay: int) -> None:
    head, situation = make_head(delay), make_situation()
    plain = head(*situation).chunk
    assert torch.equal(head(*situation, make_prefix(0.0)).chunk, plain)


@torch.no_grad()
def test_known_rows_are_as_given_and_the_others_hang_on_them() -> None:
    head, situation = make_head(), make_situation()
    prefix = make_prefix(0.0, known=2)
    chunk = head(*situation, prefix).chunk
    torch.testing.assert_close(chunk[:, :2], prefix.chunk[:, :2], atol=1e-6, rtol=0)
    other = prefix._replace(chunk=prefix.chunk + 0.5)
    assert (head(*situation, other).chunk[:, 2:] - chunk[:, 2:]).abs().max() > 1e-3
    unread = prefix._replace(chunk=prefix.chunk.clone())
    unread.chunk[:, 2:] += 5.0
    assert torch.equal(head(*situation, unread).chunk, chunk)


def teach(head: FlowHead, *, delay: int) -> None:
    """Teach straight lines of any slope, from one situation: the slope is told by a prefix."""
    fused, state, command = (make_situation()[0], *make_situation()[1:])
    draw = torch.Generator().manual_seed(4)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    steps, count = 500, 64
    one = (
        Fused(fused.tokens[:1].expand(count, -1, -1), fused.weight[:1].expand(count, -1)),
        state[:1].expand(count, -1),
        command[:1].expand(count, -1),
    )
    torch.manual_seed(5)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1.0 - step / steps)
        slopes = torch.randn(count, 1, JOINTS, generator=draw)
        chunk = one[2][:, None] + slopes * torch.arange(1.0, HORIZON + 1)[:, None] / HORIZON
        known = torch.randint(0, delay + 1, (count,), generator=draw) if delay else None
        loss = torch.stack(
            head.loss(*one, chunk, torch.zeros(count), torch.ones(count), known)
        ).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@pytest.fixture(scope="module")
def taught() -> FlowHead:
    head = make_head()
    teach(head, delay=3)
    return head.eval()


def line(slope: float) -> tuple[tuple[Fused, Tensor, Tensor], Tensor]:
    """Return the situation that was taught, alone, and a line of a slope from its command."""
    fused, state, command = make_situation()
    one = (Fused(fused.tokens[:1], fused.weight[:1]), state[:1], command[:1])
    rows = torch.arange(1.0, HORIZON + 1)[:, None] / HORIZON
    return one, command[:1, None] + slope * rows.expand(1, HORIZON, JOINTS)


@pytest.mark.parametrize("slope", [-1.0, 0.8])
@torch.no_grad()
def test_a_taught_head_goes_on_with_the_line_whose_beginning_it_is_given(
    taught: FlowHead, slope: float
) -> None:
    situation, wanted = line(slope)
    known = (torch.arange(HORIZON) < 3).float()[None]
    chunk = taught(*situation, Prefix(wanted, torch.zeros(1, HORIZON), known)).chunk
    apart = (chunk - wanted)[:, 3:].abs().mean()
    alone = (taught(*situation).chunk - wanted)[:, 3:].abs().mean()
    assert apart < 0.2 < alone


@pytest.mark.parametrize("slope", [-1.0, 0.8])
@torch.no_grad()
def test_guidance_pulls_heeded_rows_to_the_prefix_and_the_others_along(
    taught: FlowHead, slope: float
) -> None:
    situation, wanted = line(slope)
    weight = (torch.arange(HORIZON) < 3).float()[None]
    chunk = taught(*situation, Prefix(wanted, weight, torch.zeros(1, HORIZON))).chunk
    alone = taught(*situation).chunk
    for rows in (slice(0, 3), slice(3, None)):
        apart, before = ((c - wanted)[:, rows].abs().mean() for c in (chunk, alone))
        assert apart < 0.5 * before


def test_known_rows_do_not_count_in_the_loss() -> None:
    head = make_head()
    hidden, weight = torch.randn(BATCH, OPINIONS, head.hidden), torch.rand(BATCH, OPINIONS)
    moves = torch.randn(BATCH, HORIZON, JOINTS)
    errors = []
    for offset in (0.0, 1.0):  # nothing of the network reads the last row's own end
        with torch.no_grad():
            head.end.bias[:JOINTS] += offset
        torch.manual_seed(6)
        errors.append(head.error(hidden, weight, moves, torch.full((BATCH,), 1)))
    torch.testing.assert_close(*errors)
    torch.manual_seed(6)
    assert not torch.allclose(head.error(hidden, weight, moves), errors[0])


@pytest.mark.parametrize("delay", [-1, HORIZON])
def test_a_delay_that_leaves_no_row_to_decide_is_refused(delay: int) -> None:
    with pytest.raises(UserError, match=rf"flow_delay is {delay}, must be 0 or more and below"):
        FlowHead(WIDTH, HORIZON, JOINTS, delay=delay)


class _Flat(nn.Module):
    """A head with flat inputs, as a graph has them."""

    def __init__(self, head: FlowHead) -> None:
        super().__init__()
        self.head = head

    def forward(
        self,
        tokens: Tensor,
        weight: Tensor,
        state: Tensor,
        command: Tensor,
        prefix: Tensor,
        heeded: Tensor,
        known: Tensor,
    ) -> Tensor:
        told = Prefix(prefix, heeded, known)
        chunk: Tensor = self.head(Fused(tokens, weight), state, command, told).chunk
        return chunk


def test_the_exported_graph_heeds_a_prefix_as_torch_does(tmp_path: Path) -> None:
    head = _Flat(make_head()).eval()
    (fused, state, command), prefix = make_situation(), make_prefix(0.7, known=2)
    assert prefix.known is not None
    told = (prefix.chunk, prefix.weight, prefix.known)
    inputs = (fused.tokens, fused.weight, state, command, *told)
    names = ["tokens", "weight", "state", "command", "prefix", "heeded", "known"]
    program = torch.onnx.export(head, inputs, input_names=names, dynamo=True, verbose=False)
    assert program is not None
    program.save(str(tmp_path / "head.onnx"))
    session = onnxruntime.InferenceSession(
        str(tmp_path / "head.onnx"), providers=["CPUExecutionProvider"]
    )
    feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    found = torch.from_numpy(session.run(None, feed)[0])
    with torch.no_grad():
        torch.testing.assert_close(found, head(*inputs), atol=1e-5, rtol=1e-4)
