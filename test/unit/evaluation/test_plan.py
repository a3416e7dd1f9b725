"""What an evaluation plays: fixed by its options, never what training saw."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from vla_ros.core.errors import UserError
from vla_ros.evaluation.plan import EvaluationPlan, deal_anew, first_seed
from vla_ros.learning.collection import CollectionConfig
from vla_ros.sim.scenes import HELD_OUT_COMBINATIONS, SKILLS, TEST_SEED


def test_every_skill_has_the_same_share() -> None:
    plan = EvaluationPlan(episodes=40)
    assert Counter(plan.scene(index).skill for index in range(40)) == dict.fromkeys(SKILLS, 8)


def test_seeds_follow_each_other_and_equal_plans_are_equal() -> None:
    one, two = (EvaluationPlan(episodes=6, first_seed=TEST_SEED + 7) for _ in range(2))
    for index in range(6):
        assert one.scene(index).seed == TEST_SEED + 7 + index
        assert one.scene(index).objects == two.scene(index).objects
    assert one.instructions() == two.instructions()


@pytest.mark.parametrize(
    ("number", "seed"),
    [(0, TEST_SEED), (7, TEST_SEED + 7), (TEST_SEED, TEST_SEED), (TEST_SEED + 7, TEST_SEED + 7)],
)
def test_a_seed_never_leads_to_a_training_scene(number: int, seed: int, tmp_path: Path) -> None:
    assert first_seed(number) == seed
    with pytest.raises(ValueError, match="belong to the test splits"):
        CollectionConfig(directory=tmp_path, episodes=1, first_seed=seed)


def test_a_training_seed_cannot_be_planned() -> None:
    with pytest.raises(UserError, match="seed 12 belongs to training"):
        EvaluationPlan(first_seed=12)
    with pytest.raises(UserError, match="--seed is -1; expected 0 or more"):
        first_seed(-1)


def test_shuffled_instructions_are_the_same_sentences_in_other_episodes() -> None:
    plan = EvaluationPlan(episodes=50)
    own = plan.instructions()
    shuffled = EvaluationPlan(episodes=50, ablate="instruction").instructions()
    assert Counter(own) == Counter(shuffled)
    assert not [pair for pair in zip(own, shuffled, strict=True) if pair[0] == pair[1]]
    for index in range(50):
        assert own[index] == plan.scene(index).text


def test_sentences_that_are_all_alike_cannot_be_shuffled() -> None:
    with pytest.raises(UserError, match="2 episodes have too few different sentences"):
        deal_anew(["lift the red cube", "lift the red cube"], seed=0)


def test_a_phrasing_file_gives_the_words_and_the_skills(tmp_path: Path) -> None:
    file = tmp_path / "words.yaml"
    file.write_text(
        "lift:\n  - up she goes, the {object}\npush:\n  - off with the {object}, {direction}\n"
    )
    plan = EvaluationPlan(episodes=6, phrasings=file)
    assert plan.skills() == ("push", "lift")
    for index in range(6):
        scene = plan.scene(index)
        assert scene.skill == ("push", "lift")[index % 2]
        assert scene.text.startswith(("up she goes, the", "off with the"))
        assert scene.named in scene.text


def test_a_phrasing_file_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "words.yaml"
    file.write_text("juggle:\n  - juggle the {object}\n")
    with pytest.raises(UserError, match=r"words\.yaml: skill 'juggle' does not exist"):
        EvaluationPlan(phrasings=file).instructions()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "train"}, "split 'train' does not exist; choose seeds or phrasing"),
        ({"suite": "kitchen"}, "suite 'kitchen' does not exist; choose core"),
        ({"ablate": "camera"}, "ablate 'camera' does not exist; choose instruction"),
        ({"episodes": 0}, "episodes is 0; expected 1 or more"),
        ({"episodes": 1, "ablate": "instruction"}, "episodes is 1; expected 2 or more"),
        ({"limit_s": 0.0}, "limit_s is 0.0"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EvaluationPlan(**options)  # type: ignore[arg-type]


def test_the_combination_split_asks_for_held_out_combinations() -> None:
    plan = EvaluationPlan(split="combination", episodes=20)
    for index in range(20):
        named = plan.scene(index).find(plan.scene(index).named)
        assert (named.colour, named.shape) in HELD_OUT_COMBINATIONS
