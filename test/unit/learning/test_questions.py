"""Questions about rendered states, and the losses that they give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vla_ros.learning.batch_types import AskedBatch, TableBatch, TextBatch
from vla_ros.learning.batches import Batcher
from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.grounding_losses import (
    Matched,
    contrast_loss,
    pointing_loss,
)
from vla_ros.learning.grounding_losses import (
    demonstrations as demonstrate,
)
from vla_ros.learning.question_bank import QuestionBank, things_at
from vla_ros.learning.questions import ANY, SHARES, TOLD, UNKNOWN, Question, ask
from vla_ros.learning.recipes import tabletop_small
from vla_ros.learning.seen_scenes import SeenScenes
from vla_ros.learning.texts import UNTOLD
from vla_ros.learning.training import Trainer
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.grounding import QUESTIONS, Grounder, SeenThings
from vla_ros.policy.model import Policy
from vla_ros.policy.regions import ATTRIBUTES, EMBEDDING
from vla_ros.sim.references import Thing

THINGS = (
    Thing(colour="red", shape="cube", half=0.014, xy=(0.2, 0.1)),
    Thing(colour="blue", shape="cube", half=0.018, xy=(0.2, -0.1)),
    Thing(colour="red", shape="ball", half=0.014, xy=(0.15, 0.0)),
    Thing(colour=None, shape="bowl", half=0.0, xy=(0.25, 0.0)),
)


def questions(count: int = 400) -> list[Question]:
    rng = np.random.default_rng(0)
    return [ask(rng, THINGS) for _ in range(count)]


def test_every_kind_of_question_is_asked() -> None:
    assert {question.kind for question in questions()} == set(SHARES)


def test_what_is_absent_has_no_answer_or_no_target() -> None:
    for question in questions():
        assert question.present == (question.kind != "absent"), question


def test_a_description_fits_the_answers_and_nothing_else() -> None:
    from vla_ros.learning.rollouts import KINDS
    from vla_ros.sim.scenes import COLOURS

    def classes(thing: Thing) -> tuple[int, int]:
        colour = len(COLOURS) if thing.colour is None else COLOURS.index(thing.colour)
        return colour, KINDS.index(thing.shape)

    for question in questions():
        if question.described[0] == UNKNOWN:
            continue
        fits = tuple(i for i, thing in enumerate(THINGS) if classes(thing) == question.described)
        assert fits == question.answers


def test_what_stands_on_a_table_is_read_back_from_demonstrations(demonstrations: Path) -> None:
    from vla_ros.sim.scenes import sample_scene

    data = Demonstrations.load([demonstrations])
    row = int(data.images["row"][0])
    scene = sample_scene(seed=int(data.states["episode"][row]))
    things = things_at(data, row)
    names = [*(o.name for o in scene.objects), *(c.name for c in scene.containers)]
    assert [f"{t.colour} {t.shape}" if t.movable else t.shape for t in things] == names


def test_a_bank_has_a_row_for_every_question(demonstrations: Path, language_files: Path) -> None:
    data = Demonstrations.load([demonstrations])
    bank = QuestionBank.build(data, language_files, 2, cache=None)
    assert bank.rows.shape == (len(data.images["row"]), 2)
    assert bank.rows.max() == len(bank.features) - 1
    readable = bank.rows >= 0
    assert readable.mean() > 0.9
    assert (bank.answers.any(-1) | ~bank.present)[readable].all()


def test_pointing_at_any_right_region_is_right() -> None:
    right = torch.tensor([[[True, True, False], [False, False, False]]])
    sure = torch.full((1, 2, 4), -9.0)
    sure[0, 0, 1] = sure[0, 1, 3] = 9.0  # one of the two; no target
    loss, accuracy = pointing_loss(sure, right, torch.tensor([True]))
    assert float(loss) < 1e-3
    assert float(accuracy) == 1.0
    wrong = sure.clone()
    wrong[0, 0] = torch.tensor([-9.0, -9.0, 9.0, -9.0])
    loss, accuracy = pointing_loss(wrong, right, torch.tensor([True]))
    assert float(loss) > 5.0
    assert float(accuracy) == 0.0


def scenes(colours: list[list[int]]) -> tuple[SeenThings, Matched, TableBatch]:
    """Return scenes of cubes of some colours; what a region looks like is its colour alone."""
    colour = torch.tensor(colours)
    batch, count = colour.shape
    embedding = torch.zeros(batch, count, EMBEDDING)
    embedding.scatter_(2, colour[..., None], 5.0)
    things = SeenThings(
        embedding=embedding,
        xyz=torch.zeros(batch, count, 3),
        presence=torch.ones(batch, count),
        pixel=torch.zeros(batch, count, 2),
        attributes=torch.zeros(batch, count, ATTRIBUTES),
    )
    thing = torch.arange(count).expand(batch, count)
    table = TableBatch(
        xyz=torch.zeros(batch, count, 3),
        colour=colour,
        kind=torch.zeros_like(colour),
        half=torch.ones(batch, count),
    )
    return things, Matched(thing, torch.ones(batch, count)), table


def asked(described: list[int], count: int = 2, *, novel: bool = False) -> AskedBatch:
    """Return one question per scene for a cube of a colour."""
    number = len(described)
    classes = torch.full((number, 1, 2, 2), ANY)
    classes[:, 0, 0] = torch.tensor([[colour, 0] for colour in described])
    return AskedBatch(
        text=TextBatch(torch.zeros(0), torch.zeros(0), torch.zeros(0)),
        answers=torch.zeros(number, 1, count),
        target=torch.zeros(number, 1, count),
        present=torch.ones(number, 1),
        described=classes,
        readable=torch.ones(number, 1),
        novel=torch.full((number, 1), float(novel)),
        told=torch.full((number, 1, len(TOLD)), UNTOLD),
    )


def test_contrast_brings_phrases_and_what_they_describe_together() -> None:
    torch.manual_seed(0)
    grounder = Grounder(replace(tabletop_small(), width=32, layers=1, feedforward=32))
    things, matched, table = scenes([[0, 1], [1, 2], [2, 0]])
    ask_for = asked([0, 1, 2])
    slots = torch.randn(3, QUESTIONS, 32)
    optimizer = torch.optim.Adam(grounder.parameters(), 0.01)
    losses = []
    for _ in range(60):
        loss = contrast_loss(grounder, slots, things, matched, ask_for, table)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]
    similarity = grounder.compare(slots, things)[:, 0]
    assert similarity.argmax(-1).tolist() == [0, 0, 0]


def test_demonstrations_come_from_other_scenes_and_fit_the_description() -> None:
    things, matched, table = scenes([[0, 1], [0, 2], [0, 3]])
    seen = False
    for seed in range(20):
        torch.manual_seed(seed)
        shown = demonstrate(things, matched, asked([0, 2, 0], novel=True), table)
        assert (shown.mask[1] == 0).all(), "no other scene has a thing of colour 2"
        given = shown.embedding[shown.mask > 0]
        assert (given.argmax(-1) == 0).all()
        assert (shown.mask.sum(1) <= 2).all()
        seen |= bool((shown.mask > 0).any())
    assert seen


def test_words_that_are_known_are_now_and_then_shown_something_else() -> None:
    things, matched, table = scenes([[0, 1], [0, 2], [0, 3]])
    shown = []
    for seed in range(60):
        torch.manual_seed(seed)
        given = demonstrate(things, matched, asked([0, 0, 0]), table)
        shown += given.embedding[given.mask > 0].argmax(-1).tolist()
    assert {1, 2, 3} < set(shown)
    assert shown.count(0) > len(shown) / 2


def test_what_was_seen_is_kept_until_the_eyes_are_others(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = ("vision", "regions", "grounder.read")
    once = replace(config, freeze=frozen, episodes=0, images=3, questions=2, steps=1)

    def looks(**changes: Any) -> list[SeenScenes]:
        trainer = Trainer(replace(once, **changes), tabletop_small())
        list(trainer.run())
        return trainer._losses._seen

    first = looks()
    counted = []
    look = SeenScenes.look

    def counting(policy: Policy, batcher: Batcher, *, depth: bool = True) -> SeenScenes:
        counted.append(depth)
        return look(policy, batcher, depth=depth)

    monkeypatch.setattr(SeenScenes, "look", staticmethod(counting))
    again = looks(steps=2)
    assert counted == []
    for before, after in zip(first, again, strict=True):
        for one, other in zip(before.at(np.arange(3)), after.at(np.arange(3)), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))

    (once.output / "checkpoint.pt").unlink()  # eyes of another seed
    looks(seed=once.seed + 1)
    assert counted == [True, False]


def test_frozen_parts_stay_bit_for_bit_and_the_grounding_learns(config: TrainingConfig) -> None:
    frozen = ("vision", "regions", "language")
    trainer = Trainer(
        replace(config, freeze=frozen, episodes=0, images=3, questions=2), tabletop_small()
    )
    before = {key: value.clone() for key, value in trainer.policy.state_dict().items()}
    for _ in trainer.run():
        pass
    changed = {
        key.split(".")[0]
        for key, value in trainer.policy.state_dict().items()
        if not torch.equal(value, before[key])
    }
    assert changed == {"grounder"}


def test_a_part_that_the_policy_lacks_cannot_be_frozen(config: TrainingConfig) -> None:
    from vla_ros.core.errors import UserError

    with pytest.raises(UserError, match=r"has no part 'ears'; it has .*grounder.*vision"):
        Trainer(replace(config, freeze=("ears",)), tabletop_small())
