"""What stands on the table: drawn from a seed, apart from each other, splits kept apart."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from vla_ros.sim.instruction_files import HELD_OUT_FILE, instruction_directory, load_phrasings
from vla_ros.sim.layout import CONTAINER_RADIUS, DIRECTIONS
from vla_ros.sim.scenes import (
    HELD_OUT_COMBINATIONS,
    SKILLS,
    SPLITS,
    TEST_SEED,
    Scene,
    sample_scene,
)

SEEDS = range(200)


def scenes(split: str, first: int = 0) -> Iterator[Scene]:
    for seed in SEEDS:
        yield sample_scene(seed=first + seed, split=split, skill=SKILLS[seed % len(SKILLS)])


def everything_of(scene: Scene) -> list[tuple[str, tuple[float, float], float]]:
    """Name, centre and largest radius in the plane of all that stands on the table."""
    things = [
        (item.name, item.xy, item.half_size * (math.sqrt(2) if item.shape == "cube" else 1))
        for item in scene.objects
    ]
    return things + [(item.name, item.xy, CONTAINER_RADIUS) for item in scene.containers]


@pytest.mark.parametrize("split", SPLITS)
def test_a_seed_gives_the_same_scene_again(split: str) -> None:
    for seed in range(5):
        first, second = (sample_scene(seed=seed, split=split) for _ in range(2))
        assert first.text == second.text
        assert first.objects == second.objects
        assert first.containers == second.containers
        np.testing.assert_array_equal(first.initial_positions, second.initial_positions)
        np.testing.assert_array_equal(
            first.appearance.front_offset, second.appearance.front_offset
        )


def test_seeds_and_splits_give_different_scenes() -> None:
    layouts = {
        sample_scene(seed=seed, split=split).objects for seed in range(50) for split in SPLITS
    }
    assert len(layouts) == 50 * len(SPLITS)


@pytest.mark.parametrize("split", SPLITS)
def test_things_never_overlap(split: str) -> None:
    for scene in scenes(split):
        things = everything_of(scene)
        for index, (name, xy, radius) in enumerate(things):
            for other, other_xy, other_radius in things[:index]:
                gap = math.dist(xy, other_xy) - radius - other_radius
                assert gap > 0, f"seed {scene.seed}: {name} and {other} overlap by {-gap:.3f} m"


def test_there_are_two_to_five_different_objects_and_the_instruction_picks_one() -> None:
    for scene in scenes("train"):
        names = [item.name for item in scene.objects]
        assert 2 <= len(names) <= 5
        assert len(set(names)) == len(names)
        assert scene.named in names
        assert scene.named == f"{scene.instruction.colour} {scene.instruction.shape}"


def test_goals_belong_to_their_skills() -> None:
    for scene in scenes("train"):
        assert (scene.direction in DIRECTIONS) == (scene.skill == "push")
        if scene.skill == "place":
            assert scene.target in {item.name for item in scene.containers}
        elif scene.skill == "stack":
            assert scene.target is not None
            assert scene.find(scene.target).shape != "ball"
            assert scene.find(scene.named).shape != "ball"
        else:
            assert scene.target is None


@pytest.mark.parametrize("split", ["train", "seeds", "phrasing"])
def test_held_out_combinations_are_in_no_scene_of_other_splits(split: str) -> None:
    for scene in scenes(split):
        pairs = {(item.colour, item.shape) for item in scene.objects}
        assert not pairs & set(HELD_OUT_COMBINATIONS)


def test_the_combination_split_always_names_a_held_out_combination() -> None:
    named = {scene.find(scene.named) for scene in scenes("combination", TEST_SEED)}
    assert {(item.colour, item.shape) for item in named} == set(HELD_OUT_COMBINATIONS)


def test_every_word_of_a_held_out_combination_is_known_from_training() -> None:
    seen = [item for scene in scenes("train") for item in scene.objects]
    for colour, shape in HELD_OUT_COMBINATIONS:
        assert any(item.colour == colour for item in seen)
        assert any(item.shape == shape for item in seen)


def test_held_out_templates_are_in_the_phrasing_split_alone() -> None:
    held_out = load_phrasings(instruction_directory() / HELD_OUT_FILE)
    for scene in scenes("phrasing", TEST_SEED):
        assert scene.instruction.template in held_out[scene.skill]
    for split in ("train", "seeds", "combination"):
        for scene in scenes(split):
            assert scene.instruction.template not in held_out[scene.skill]


@pytest.mark.parametrize(("what", "name"), [("split", "testing"), ("skill", "juggle")])
def test_an_unknown_split_or_skill_is_named_with_the_choices(what: str, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{what} '{name}' does not exist; choose one of"):
        sample_scene(**{"seed": 0, what: name})  # type: ignore[arg-type]
