"""What demonstrations are worth: the trials, what counts as right, and the finding in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest

from vla_ros.core.demonstration import Demonstration
from vla_ros.core.errors import UserError
from vla_ros.core.types import Float32Array, Observation
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.evaluation.gain import Gain
from vla_ros.evaluation.in_context import (
    COUNTS,
    DEMONSTRATED_SEED,
    Asker,
    Case,
    Trial,
    coin_word,
    looks_at,
)
from vla_ros.sim.scenes import HELD_OUT_COMBINATIONS, TEST_SEED, Scene

NAMED = Case(name="named", about="Unseen pairs", split="combination")
NEW = Case(name="new", about="Unseen pairs", split="combination", syllables=("dax", "wug"))
MISLED = Case(name="misled", about="Known pairs", split="seeds", misled=True)


def points_of(scene: Scene, name: str | None) -> Float32Array:
    """What takes a thing for the object; None: the middle of nowhere."""
    points = np.zeros((2, 4), np.float32)
    if name is not None:
        points[0] = [*scene.find(name).xy, 0.02, 0.9]
    return points


class Learner:
    """Points right once it was shown two; it refuses the first demonstration it ever gets."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.prompts: list[list[Demonstration]] = []
        self.texts: list[str] = []
        self.points = points_of(scene, None)

    def show(self, demonstrations: Sequence[Demonstration]) -> None:
        self.prompts.append(list(demonstrations))
        if len(self.prompts) == 1:
            raise UserError("nothing is seen there")

    def start(self, instruction: str) -> None:
        self.texts.append(instruction)

    def infer(self, observation: Observation) -> None:
        enough = len(self.prompts[-1]) >= 2
        self.points = points_of(self.scene, self.scene.named if enough else None)


def test_a_scene_is_asked_with_none_to_four_demonstrations_that_differ() -> None:
    learner = Learner(Trial(case=NEW, index=3).scene)
    asker = Asker([cast(BundlePolicy, learner)])
    [[asked]] = asker.ask([NEW], 3)
    assert asked.right == {0: False, 1: False, 2: True, 4: True}
    assert (asked.shown, asked.refused) == (4, 1)
    assert asked.chance == 1.0 / len(learner.scene.objects)
    assert len(set(learner.texts)) == 1
    shown = learner.prompts[-2]
    assert len({each.observation.images["front"].tobytes() for each in shown}) == max(COUNTS)
    assert all(each.xyz[2] == pytest.approx(0.016, abs=0.004) for each in shown)  # on the table
    assert learner.prompts[-1] == []


def test_equal_trials_are_equal_and_all_cases_of_a_split_ask_about_one_scene() -> None:
    one, other = Trial(case=NAMED, index=5), Trial(case=NEW, index=5)
    assert one.scene.objects == other.scene.objects
    assert other.text(other.scene) == Trial(case=NEW, index=5).text(other.scene)
    assert one.text(one.scene) == one.scene.text
    assert re.search(r"\bthe (dax|wug){1,3}\b", other.text(other.scene))


def test_what_is_unseen_is_held_out_and_every_scene_is_new_to_training() -> None:
    for index in range(8):
        scene = Trial(case=NAMED, index=index).scene
        item = scene.find(scene.named)
        assert (item.colour, item.shape) in HELD_OUT_COMBINATIONS
        assert scene.seed >= TEST_SEED
    assert DEMONSTRATED_SEED > 2 * TEST_SEED


def test_a_misleading_prompt_is_of_another_thing_of_the_scene() -> None:
    trial = Trial(case=MISLED, index=0)
    scene = trial.scene
    assert trial.demonstrated(scene) in scene.objects
    assert trial.demonstrated(scene).name != scene.named
    assert Trial(case=NAMED, index=0).demonstrated(scene).name == scene.named


def test_a_coined_word_is_of_one_to_three_syllables() -> None:
    rng = np.random.default_rng(0)
    words = {coin_word(rng, ("dax", "wug")) for _ in range(200)}
    assert len(words) == 2 + 4 + 8


def test_another_thing_and_none_are_wrong() -> None:
    scene = Trial(case=NAMED, index=0).scene
    place = np.array([*scene.find(scene.named).xy, 0.02])
    assert looks_at(points_of(scene, scene.named), place)
    assert not looks_at(points_of(scene, None), place)
    assert not looks_at(points_of(scene, scene.objects[1].name), place)


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        ([True] * 90 + [False] * 10, "4 demonstrations gain +40.0 points (95 % interval +2"),
        ([True] * 52 + [False] * 48, "no gain from 4 demonstrations is shown, +2.0 points"),
        ([True] * 10 + [False] * 90, "4 demonstrations do harm, -40.0 points"),
    ],
)
def test_a_finding_says_what_the_interval_allows(after: list[bool], verdict: str) -> None:
    gain = Gain.between([True] * 50 + [False] * 50, after)
    finding = gain.finding("Unseen pairs", "4 demonstrations")
    assert finding.startswith(f"Unseen pairs: {verdict}")
    assert f"from 50.0 % to {sum(after)}.0 % right in 100 scenes." in finding
    assert gain.to_dict()["gain"] == pytest.approx((sum(after) - 50) / 100)
    assert gain.low <= gain.value <= gain.high
