"""Distillation: the teacher's answers are what the student is drawn to, whatever its size."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vla_ros.core.errors import UserError
from vla_ros.learning.batches import Batcher
from vla_ros.learning.distillation import (
    Lesson,
    Teacher,
    attention_distance,
    open_teacher,
    pointing_distance,
)
from vla_ros.learning.losses import Losses
from vla_ros.learning.objectives import SlotClassifier
from vla_ros.learning.question_bank import QuestionBank
from vla_ros.learning.recipes import tabletop_small
from vla_ros.learning.training import Trainer
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.grounding import SeenThings
from vla_ros.policy.heads import HEADS
from vla_ros.policy.model import Policy
from vla_ros.policy.regions import ATTRIBUTES

TAUGHT = {
    *("taught_state_action", "taught_state_progress"),
    *("taught_image_action", "taught_image_progress"),
    *("taught_attention_front", "taught_attention_wrist", "taught_pointing"),
}
CPU = torch.device("cpu")
SMALL = replace(tabletop_small(), width=64, layers=1, feedforward=96, vision_width=24)


def things(pixels: list[tuple[float, float]]) -> SeenThings:
    """One scene with a region at each pixel."""
    count = len(pixels)
    return SeenThings(
        embedding=torch.zeros(1, count, 64),
        xyz=torch.zeros(1, count, 3),
        presence=torch.ones(1, count),
        pixel=torch.tensor([pixels]),
        attributes=torch.zeros(1, count, ATTRIBUTES),
    )


def lesson_of(seen: SeenThings, pointers: Tensor) -> Lesson:
    return Lesson(attention={}, points={}, slots=torch.zeros(0), things=seen, pointers=pointers)


def test_attention_that_is_the_teachers_is_no_distance_away() -> None:
    told = torch.randn(2, 3, 1025, generator=torch.Generator().manual_seed(0)) * 4
    assert float(attention_distance(told + 3.0, told)) == pytest.approx(0.0, abs=1e-5)
    assert float(attention_distance(told.flip(-1), told)) > 0.5


def test_pointing_is_compared_by_place_and_not_by_the_order_of_the_regions() -> None:
    teacher_sees = things([(20.0, 30.0), (90.0, 40.0), (60.0, 100.0)])
    student_sees = things([(61.0, 99.0), (21.0, 31.0), (89.0, 41.0)])
    sure = torch.full((1, 2, 4), -6.0)
    sure[0, 0, 1] = sure[0, 1, 0] = 6.0  # object: at (90, 40); target: at (20, 30)
    right = torch.full((1, 2, 4), -6.0)
    right[0, 0, 2] = right[0, 1, 1] = 6.0
    lesson, readable = lesson_of(teacher_sees, sure), torch.ones(1, 1)
    assert float(pointing_distance(right, student_sees, lesson, readable)) < 0.01
    assert float(pointing_distance(sure, student_sees, lesson, readable)) > 5.0
    unread = pointing_distance(sure, student_sees, lesson, torch.zeros(1, 1))
    assert float(unread) == 0.0


def test_what_the_student_does_not_see_it_is_to_point_at_as_nothing() -> None:
    teacher_sees, student_sees = things([(20.0, 30.0)]), things([(100.0, 100.0)])
    sure = torch.tensor([[[8.0, -8.0], [8.0, -8.0]]])
    lesson = lesson_of(teacher_sees, sure)
    nothing = pointing_distance(-sure, student_sees, lesson, torch.ones(1, 1))
    assert (
        float(nothing)
        < 0.01
        < float(pointing_distance(sure, student_sees, lesson, torch.ones(1, 1)))
    )


def test_a_smaller_student_learns_from_a_bundle_beside_the_demonstrations(
    config: TrainingConfig, untrained_bundle: Path
) -> None:
    taught = replace(config, teacher=untrained_bundle, steps=2)
    trainer = Trainer(taught, SMALL)
    assert sum(v.numel() for v in trainer.policy.parameters()) < 900_000
    losses = list(trainer.run())
    assert set(losses[0]) >= {*TAUGHT, "state_action", "image_action", "pointing"}
    assert all(math.isfinite(value) for step in losses for value in step.values())
    resumed = Trainer(replace(taught, steps=3), SMALL)
    assert resumed.step == 2
    assert len(list(resumed.run())) == 1


@pytest.mark.parametrize("head", HEADS)
def test_a_student_that_is_its_teacher_has_nothing_to_learn_of_attention_and_pointing(
    config: TrainingConfig, head: str
) -> None:
    torch.manual_seed(0)
    policy = Policy(replace(tabletop_small(), head=head)).eval()
    twin = Policy(policy.config)
    twin.load_state_dict(policy.state_dict())
    losses = make_losses(config, policy, Teacher(twin))
    terms = losses()
    for name in ("taught_attention_front", "taught_attention_wrist", "taught_pointing"):
        assert float(terms[name][0]) == pytest.approx(0.0, abs=1e-4), name
    if head == "l1":
        for name in ("taught_state_action", "taught_image_action"):
            assert float(terms[name][0]) == pytest.approx(0.0, abs=1e-4), name
    assert all(math.isfinite(float(value)) for value, _ in terms.values())


def make_losses(config: TrainingConfig, policy: Policy, teacher: Teacher | None) -> Losses:
    trainer = Trainer(config, tabletop_small())
    questions = QuestionBank.build(
        trainer.data, config.language, config.questions, config.output / "questions.npz"
    )
    batcher = Batcher(trainer.data, trainer.bank, questions, np.random.default_rng(0))
    classifier = SlotClassifier(policy.config.width)
    return Losses(config, policy, classifier, batcher, teacher)


def test_the_teacher_counts_as_much_as_it_is_told_to(
    config: TrainingConfig, untrained_bundle: Path
) -> None:
    half = replace(config, teacher=untrained_bundle, teaching=0.5)
    teacher = open_teacher(half, tabletop_small(), CPU)
    assert teacher is not None
    assert not any(value.requires_grad for value in teacher.policy.parameters())
    terms = make_losses(half, Policy(tabletop_small()), teacher)()
    assert terms["taught_state_action"][1] == pytest.approx(0.5 * terms["state_action"][1])
    assert terms["taught_image_action"][1] == pytest.approx(0.5 * terms["image_action"][1])
    assert terms["taught_pointing"][1] == pytest.approx(0.5 * terms["pointing"][1])


def test_a_teacher_of_another_robot_or_language_is_refused(
    config: TrainingConfig, untrained_bundle: Path, other_language: Path
) -> None:
    taught = replace(config, teacher=untrained_bundle)
    longer = replace(tabletop_small(), horizon=12)
    with pytest.raises(UserError, match=r"horizon is 12 in the student and 10 in the teacher"):
        open_teacher(taught, longer, CPU)
    with pytest.raises(UserError, match=r"cannot teach this policy: tokenizer\.json is \w+…, was"):
        open_teacher(replace(taught, language=other_language), tabletop_small(), CPU)
    assert open_teacher(config, tabletop_small(), CPU) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"teacher": Path("nowhere")},
            "nowhere: no such file; --teacher takes a checkpoint.pt",
        ),
        ({"teaching": 0.0}, "teaching is 0.0; expected more than 0"),
    ],
)
def test_a_teacher_that_is_not_there_is_named(
    config: TrainingConfig, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        replace(config, **changes)  # type: ignore[arg-type]
