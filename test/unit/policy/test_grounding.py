"""Proposals and grounding: peaks, masks, pointers, what is asked of the eyes, and prompts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vla_ros.learning.recipes import tabletop_small, with_fusion
from vla_ros.policy.fusion import FUSIONS
from vla_ros.policy.grounding import DEMONSTRATIONS, QUESTIONS, Grounder, SeenThings, Shown
from vla_ros.policy.model import Policy
from vla_ros.policy.regions import ATTRIBUTES, EMBEDDING, REGIONS, RegionProposer

WIDTH = 32


def make_grounder(fusion: str = "early") -> Grounder:
    torch.manual_seed(0)
    small = replace(tabletop_small(), width=WIDTH, layers=2, feedforward=48)
    grounder = Grounder(with_fusion(small, fusion)).eval()
    with torch.no_grad():
        for value in grounder.parameters():
            value.add_(0.05 * torch.randn_like(value))
    return grounder


def make_things(seed: int, there: int = 4, batch: int = 2) -> SeenThings:
    draw = torch.Generator().manual_seed(seed)
    presence = torch.zeros(batch, REGIONS)
    presence[:, :there] = 0.9
    return SeenThings(
        embedding=torch.randn(batch, REGIONS, EMBEDDING, generator=draw),
        xyz=torch.rand(batch, REGIONS, 3, generator=draw) * 0.2,
        presence=presence,
        pixel=torch.rand(batch, REGIONS, 2, generator=draw) * 128,
        attributes=torch.rand(batch, REGIONS, ATTRIBUTES, generator=draw),
    )


def make_questions(seed: int = 0, batch: int = 2) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(batch, QUESTIONS, WIDTH, generator=draw)


def test_a_peak_is_proposed_once_and_at_its_cell() -> None:
    torch.manual_seed(0)
    proposer = RegionProposer(8)
    centres = torch.full((1, 1, 32, 32), -9.0)
    centres[0, 0, 10, 20], centres[0, 0, 10, 21] = 3.0, 2.0
    centres[0, 0, 25, 5] = 2.5
    embeddings = torch.randn(1, EMBEDDING, 32, 32)
    estimates = torch.randn(1, 3, 32 * 32)
    found = proposer(centres, embeddings, estimates)
    assert found.cell[0, :2].tolist() == [10 * 32 + 20, 25 * 32 + 5]
    assert int((found.presence > 0).sum()) == 2
    torch.testing.assert_close(found.embedding[0, 0], embeddings[0, :, 10, 20])
    torch.testing.assert_close(found.estimate[0, 1], estimates[0, :, 25 * 32 + 5])


@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_is_no_region_can_change_nothing_at_all(fusion: str) -> None:
    grounder, questions = make_grounder(fusion), make_questions()
    one, other = make_things(0), make_things(1)
    there = (one.presence > 0)[..., None]
    changed = one._replace(
        embedding=torch.where(there, one.embedding, other.embedding),
        xyz=torch.where(there, one.xyz, other.xyz),
        attributes=torch.where(there, one.attributes, other.attributes),
    )
    before, after = grounder(questions, one), grounder(questions, changed)
    for name in ("pointers", "match", "similarity", "score", "decision"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name


def test_nothing_is_pointed_at_that_is_not_there() -> None:
    answer = make_grounder()(make_questions(), make_things(0, there=3))
    chances = torch.softmax(answer.pointers, -1)
    assert (chances[..., 3:REGIONS] == 0).all()
    torch.testing.assert_close(chances.sum(-1), torch.ones(2, 2))


def test_the_order_of_regions_does_not_matter() -> None:
    grounder, questions, things = make_grounder(), make_questions(), make_things(0)
    order = torch.tensor([2, 0, 3, 1, *range(4, REGIONS)])
    turned = SeenThings(*(value[:, order] for value in things))
    before, after = grounder(questions, things), grounder(questions, turned)
    torch.testing.assert_close(before.pointers[..., :-1][..., order], after.pointers[..., :-1])
    torch.testing.assert_close(before.score, after.score)


def test_an_empty_prompt_is_no_prompt_and_a_prompt_changes_the_answer() -> None:
    grounder, questions, things = make_grounder(), make_questions(), make_things(0)
    shown = torch.randn(2, 4, EMBEDDING)
    without = grounder(questions, things)
    empty = grounder(questions, things, Shown(shown, torch.zeros(2, 4)))
    prompted = grounder(questions, things, Shown(shown, torch.ones(2, 4)))
    torch.testing.assert_close(without.pointers, empty.pointers, atol=1e-6, rtol=0)
    assert (without.pointers - prompted.pointers).abs().max() > 1e-4


def test_the_eyes_are_asked_for_what_is_pointed_at_and_else_for_the_words() -> None:
    grounder = make_grounder()
    slots, looks = torch.randn(1, 2, WIDTH), torch.randn(1, REGIONS, WIDTH)
    pointers = torch.zeros(1, 2, REGIONS + 1)
    pointers[0, 0, 5] = 9.0  # the object is region 5; of the target nothing is sure
    asked = grounder.asked(slots, pointers, looks, torch.tensor([True]))
    torch.testing.assert_close(asked[0, 0], looks[0, 5])
    torch.testing.assert_close(asked[0, 1], slots[0, 1])
    by_name = grounder.asked(slots, pointers, looks, torch.tensor([False]))
    torch.testing.assert_close(by_name, slots)


@torch.no_grad()
@pytest.mark.parametrize(("found", "follows"), [(True, False), (False, True)])
def test_a_prompt_is_followed_where_the_words_find_nothing(found: bool, follows: bool) -> None:
    torch.manual_seed(0)
    policy = Policy(tabletop_small()).eval()
    grounder = policy.grounder
    grounder.calibration.copy_(torch.tensor([0.0, 1.0 if found else -1.0]))
    for parameter in grounder.refers.parameters():
        parameter.zero_()  # the sentence does not reason
    grounder.nothing.weight.zero_()
    grounder.nothing.bias.fill_(-20.0)  # the one thing that there is, is pointed at surely
    things = make_things(0, there=1, batch=1)
    words, mask = torch.randn(1, 5, tabletop_small().language_features), torch.ones(1, 5)
    shown = Shown(torch.randn(1, DEMONSTRATIONS, EMBEDDING), torch.ones(1, DEMONSTRATIONS))
    by_words = policy.ground(words, mask, things).queries
    prompted = policy.ground(words, mask, things, shown).queries
    assert torch.equal(prompted, by_words) is not follows
    if follows:
        looks = grounder.appearances(things.attributes)
        torch.testing.assert_close(prompted[:, 0], looks[:, 0])


def test_the_score_needs_the_target_only_if_the_words_want_one() -> None:
    grounder, questions = make_grounder(), make_questions(batch=1)
    similarity = torch.full((1, 2, REGIONS), -1.0)
    similarity[0, 0, 0] = 0.9  # the object is there, the target is not
    scores = {}
    for bias in (-50.0, 50.0):
        with torch.no_grad():
            grounder.has_target.bias.fill_(bias)
        scores[bias] = float(grounder.score(questions, similarity).detach())
    assert scores[-50.0] > scores[50.0]


def test_without_the_front_camera_nothing_is_seen() -> None:
    torch.manual_seed(0)
    policy = Policy(tabletop_small()).eval()
    present = torch.ones(1, 5)
    present[0, 0] = 0.0
    rgb = torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8)
    with torch.no_grad():
        things = policy.scan(rgb, torch.full((1, 128, 128), 0.4), present)
    assert (things.presence == 0).all()
