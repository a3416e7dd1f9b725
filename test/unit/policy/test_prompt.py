"""A prompt of demonstrations in every fusion: it counts, it is a set, and masked it is nothing."""

from __future__ import annotations

import pytest
import torch

from vla_ros.learning.recipes import tabletop_small, with_fusion
from vla_ros.policy.fusion import FUSIONS
from vla_ros.policy.grounding import (
    DEMONSTRATIONS,
    QUESTIONS,
    Answer,
    Grounder,
    SeenThings,
    Shown,
)
from vla_ros.policy.regions import ATTRIBUTES, EMBEDDING, REGIONS

#: A causal decoder reads one token after the other, so that order tells: the runner sorts.
ORDERED = ("projector",)


@pytest.fixture(scope="module", params=FUSIONS)
def grounder(request: pytest.FixtureRequest) -> Grounder:
    """As if it had been trained a little: no gate closed."""
    torch.manual_seed(0)
    grounder = Grounder(with_fusion(tabletop_small(), request.param)).eval()
    with torch.no_grad():
        for value in grounder.parameters():
            value.add_(0.05 * torch.randn_like(value))
    return grounder


def drawn(seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(1, DEMONSTRATIONS, EMBEDDING, generator=draw)


@torch.no_grad()
def answer(grounder: Grounder, embedding: torch.Tensor, count: int) -> Answer:
    draw = torch.Generator().manual_seed(0)
    things = SeenThings(
        embedding=torch.randn(1, REGIONS, EMBEDDING, generator=draw),
        xyz=0.2 * torch.rand(1, REGIONS, 3, generator=draw),
        presence=(torch.arange(REGIONS)[None] < 5).float(),
        pixel=torch.zeros(1, REGIONS, 2),
        attributes=torch.rand(1, REGIONS, ATTRIBUTES, generator=draw),
    )
    questions = torch.randn(1, QUESTIONS, grounder.nothing.in_features, generator=draw)
    mask = (torch.arange(DEMONSTRATIONS)[None] < count).float()
    found: Answer = grounder(questions, things, Shown(embedding, mask))
    return found


@pytest.mark.parametrize("count", [1, DEMONSTRATIONS])
def test_what_is_shown_counts(grounder: Grounder, count: int) -> None:
    before = answer(grounder, drawn(1), 0).pointers
    assert (answer(grounder, drawn(1), count).pointers - before).abs().max() > 1e-4


@pytest.mark.parametrize("count", [0, 2])
def test_what_is_masked_changes_nothing_bit_for_bit(grounder: Grounder, count: int) -> None:
    other = drawn(1)
    other[:, count:] = 100.0 * drawn(2)[:, count:]
    for one, two in zip(
        answer(grounder, drawn(1), count), answer(grounder, other, count), strict=True
    ):
        assert torch.equal(one, two)


def test_the_order_of_demonstrations_tells_a_causal_decoder_alone(
    grounder: Grounder, request: pytest.FixtureRequest
) -> None:
    turned = drawn(1)[:, [2, 0, 3, 1]]
    one, two = (answer(grounder, shown, DEMONSTRATIONS) for shown in (drawn(1), turned))
    apart = float((one.pointers - two.pointers).abs().max())
    if request.node.callspec.params["grounder"] in ORDERED:
        assert apart > 1e-3
    else:
        assert apart < 1e-3


def test_the_score_and_the_likeness_are_of_the_words_alone(grounder: Grounder) -> None:
    none, shown = answer(grounder, drawn(1), 0), answer(grounder, drawn(1), DEMONSTRATIONS)
    assert torch.equal(none.score, shown.score)
    assert torch.equal(none.similarity, shown.similarity)
