"""Every head: conformance, by itself and behind every fusion, and what each one promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path
from vla_ros.learning.recipes import tabletop_small
from vla_ros.policy.bundle import WEIGHTS
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.fusion import Fused
from vla_ros.policy.heads import HEADS, FlowHead, Head, L1Head, TokensHead, find_head
from vla_ros.policy.heads.tokens import SPAN
from vla_ros.policy.model import Policy
from vla_ros.testing.decision_conformance import DecisionConformance
from vla_ros.testing.head_conformance import (
    HORIZON,
    JOINTS,
    STEPS,
    WIDTH,
    HeadConformance,
    make_imitated,
    make_scale,
    make_situation,
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class TestL1(HeadConformance):
    def make_head(self, width: int, horizon: int, n_joints: int) -> Head:
        return L1Head(width, horizon, n_joints)


class TestFlow(HeadConformance):
    #: Every step learns one draw of noise for each row: what comes back is near, not exact.
    tolerance = 0.2

    def make_head(self, width: int, horizon: int, n_joints: int) -> Head:
        return FlowHead(width, horizon, n_joints, steps=4)


class TestTokens(HeadConformance):
    def make_head(self, width: int, horizon: int, n_joints: int) -> Head:
        return TokensHead(width, horizon, n_joints, bins=16)


class TestEveryFusionWithEveryHead(DecisionConformance):
    pass


def make(name: str) -> Head:
    torch.manual_seed(0)
    head = find_head(name)(WIDTH, HORIZON, JOINTS)
    head.scale.copy_(make_scale())
    return head


def test_an_unknown_head_lists_what_exists() -> None:
    with pytest.raises(UserError, match="'mlp' does not exist; choose one of l1, flow, tokens"):
        find_head("mlp")


@pytest.mark.parametrize(
    ("head", "change", "message"),
    [
        ("flow", {"flow_steps": 0}, "flow_steps is 0, must be at least 1"),
        ("tokens", {"action_bins": 1}, "action_bins is 1, must be at least 2"),
    ],
)
def test_a_head_that_cannot_be_built_names_its_setting(
    head: str, change: dict[str, int], message: str
) -> None:
    config = replace(tabletop_small(), head=head, **change)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        find_head(head).from_config(config)


@pytest.mark.parametrize("name", HEADS)
def test_a_policy_has_the_head_that_its_configuration_names(name: str) -> None:
    config = replace(tabletop_small(), head=name, flow_steps=3, action_bins=20)
    assert PolicyConfig.from_dict(config.to_dict()) == config
    head = Policy(config).head
    assert type(head) is HEADS[name]
    assert head.scale.shape == (config.horizon, config.n_joints)
    if isinstance(head, FlowHead):
        assert head.steps == 3
    if isinstance(head, TokensHead):
        assert head.centres.shape[-1] == 20


@pytest.mark.parametrize(("name", "millions"), [("l1", 0.27), ("flow", 0.45), ("tokens", 0.62)])
def test_heads_are_as_large_as_the_docs_say(name: str, millions: float) -> None:
    head = find_head(name).from_config(tabletop_small())
    parameters = sum(value.numel() for value in head.parameters())
    assert round(parameters / 1e6, 2) == millions


def test_a_bundle_of_before_there_were_heads_has_the_first_one() -> None:
    config = tabletop_small().to_dict()
    for key in ("head", "flow_steps", "action_bins"):
        del config[key]
    assert PolicyConfig.from_dict(config).head == "l1"


def test_the_shipped_head_computes_what_it_was_trained_to_compute() -> None:
    trained = load_file(resource_path("models/tabletop-small") / WEIGHTS)
    weights = {k.removeprefix("head."): v for k, v in trained.items() if k.startswith("head.")}
    config = tabletop_small()
    head = L1Head.from_config(config)
    head.load_state_dict(weights)
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randn(5, 3, config.width, generator=draw)
    weight = torch.softmax(torch.randn(5, 3, generator=draw), -1)
    state, command = (torch.randn(5, n, generator=draw) for n in (config.width, config.n_joints))

    def layer(name: str, values: Tensor) -> Tensor:
        return functional.linear(values, weights[f"{name}.weight"], weights[f"{name}.bias"])

    hidden = torch.cat([tokens, state[:, None].expand(-1, 3, -1)], -1)
    for name in ("body.0", "body.2"):
        hidden = functional.gelu(layer(name, hidden))
    moves = (layer("displacement", hidden) * weight[..., None]).sum(1)
    chunk = command[:, None] + moves.view(5, config.horizon, -1) * weights["scale"]
    progress = (layer("progress", hidden) * weight[..., None]).sum(1)[:, 0]
    action = head(Fused(tokens, weight), state, command)
    assert torch.equal(action.chunk, chunk)
    assert torch.equal(action.progress, progress)


def test_the_l1_loss_is_the_mean_error_in_units_of_the_scale() -> None:
    head, situation, lesson = make("l1"), make_situation(0), make_imitated(0)
    lesson.imitate[2] = 0.0
    imitation, progress = head.loss(*situation, *lesson)
    action = head(*situation)
    rows = [0, 1, 3]
    error = (action.chunk - lesson.chunk)[rows].abs() / head.scale
    torch.testing.assert_close(imitation, error.mean())
    doubt = functional.binary_cross_entropy_with_logits(
        action.progress[rows], lesson.progress[rows]
    )
    torch.testing.assert_close(progress, doubt)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_flow_arrives_where_the_network_says_that_it_ends(steps: int) -> None:
    head = FlowHead(WIDTH, HORIZON, JOINTS, steps)
    end = torch.linspace(-2, 2, HORIZON * JOINTS)
    with torch.no_grad():
        head.end.weight.zero_()
        head.end.bias.copy_(end)
    situation = make_situation(0)
    moves = head(*situation).chunk - situation.command[:, None]
    torch.testing.assert_close(moves[1].flatten(), end, atol=1e-5, rtol=0)


def test_every_flow_starts_from_the_same_noise_and_the_bundle_keeps_it() -> None:
    noises = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        noises.append(FlowHead(WIDTH, HORIZON, JOINTS).state_dict()["noise"])
    assert torch.equal(*noises)
    assert noises[0].shape == (HORIZON * JOINTS,)
    assert 0.15 < float(noises[0].std()) < 0.45


def test_of_two_ways_that_are_equally_right_a_flow_takes_one_and_the_others_the_middle() -> None:
    ways = {name: _learned_way(make(name)) for name in ("flow", "tokens")}
    assert abs(abs(ways["flow"]) - 1.0) < 0.2
    assert abs(ways["tokens"]) < 0.05


def _learned_way(head: Head) -> float:
    """Teach one situation with two right answers, and return how far along which it goes."""
    one, count = make_situation(0, batch=1), 16
    fused = Fused(*(value.expand(count, *value.shape[1:]) for value in one.fused))
    state, command = one.state_token.expand(count, -1), one.command.expand(count, -1)
    way = torch.tensor([1.0, -1.0, 1.0]).expand(HORIZON, JOINTS)
    sign = torch.tensor([1.0, -1.0]).repeat(count // 2)[:, None, None]
    chunk = command[:, None] + sign * way * head.scale
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    torch.manual_seed(0)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1.0 - step / STEPS)
        losses = head.loss(fused, state, command, chunk, torch.zeros(count), torch.ones(count))
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        moves = (head(*one).chunk[0] - one.command) / head.scale
    return float((moves * way).mean())


def test_binning_loses_nothing_of_a_value() -> None:
    head = TokensHead(WIDTH, HORIZON, JOINTS, bins=9)
    furthest = head.centres[..., -1]
    values = (2 * torch.rand(50, HORIZON, JOINTS) - 1) * furthest
    label = head.label(values)
    assert (label >= 0).all()
    assert (label > 0).sum(-1).max() <= 2
    torch.testing.assert_close(label.sum(-1), torch.ones(50, HORIZON, JOINTS))
    torch.testing.assert_close((label * head.centres).sum(-1), values, atol=1e-4, rtol=0)


def test_a_value_beyond_the_bins_counts_as_the_last_one() -> None:
    head = TokensHead(WIDTH, HORIZON, JOINTS, bins=9)
    label = head.label(torch.full((1, HORIZON, JOINTS), 1e3))
    torch.testing.assert_close(label[..., -1], torch.ones(1, HORIZON, JOINTS))


@pytest.mark.parametrize("horizon", [2, 10, 25])
def test_the_bins_reach_as_far_as_any_single_jump(horizon: int) -> None:
    head = TokensHead(WIDTH, horizon, 1)
    jumps = SPAN * torch.tril(torch.ones(horizon, horizon))[..., None]  # each from another row on
    reached = (head.transform @ jumps).abs().amax(0)
    assert (reached <= head.centres[..., -1] * (1 + 1e-6)).all()


def test_the_rows_come_back_from_their_frequencies() -> None:
    head = TokensHead(WIDTH, HORIZON, JOINTS)
    torch.testing.assert_close(head.transform.T @ head.transform, torch.eye(HORIZON))


def test_the_weighed_opinions_of_tokens_are_a_pool_of_their_probabilities() -> None:
    head, situation, lesson = make("tokens"), make_situation(0), make_imitated(0)
    alone = [
        head(
            *situation._replace(fused=Fused(situation.fused.tokens[:, k, None], torch.ones(4, 1)))
        )
        for k in range(situation.fused.tokens.shape[1])
    ]
    pooled = sum(
        share[:, None, None] * action.chunk
        for share, action in zip(situation.fused.weight.T, alone, strict=True)
    )
    torch.testing.assert_close(head(*situation).chunk, torch.as_tensor(pooled))
    # sure and wrong beside sure and right costs no more than the share of the wrong one
    assert float(head.loss(*situation, *lesson)[0].detach()) < 10
