"""What a prompt of demonstrations is worth: the same questions with none and with some of them.

Each scene is asked for one of its things; the demonstrations come from other scenes that hold a
thing of the same colour and shape. No weight changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.random import Generator

from vla_ros.core.demonstration import Demonstration
from vla_ros.core.errors import UserError
from vla_ros.core.types import Float32Array, FloatArray, Observation
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.engine.grounding import NEAR_M
from vla_ros.evaluation.episode import EpisodeResult, run_episode
from vla_ros.sim.environment import Environment
from vla_ros.sim.instructions import PhrasingBook
from vla_ros.sim.layout import ObjectSpec
from vla_ros.sim.noun_phrases import choose
from vla_ros.sim.scenes import TEST_SEED, Scene, sample_scene

#: How many demonstrations are shown.
COUNTS = (0, 1, 2, 4)
#: What is asked for with a word that nobody knows, in training as well.
SKILLS = ("reach", "lift")
#: First seed of the scenes of demonstrations; no evaluation plays them.
DEMONSTRATED_SEED = 4 * TEST_SEED
#: Demonstrations that are tried at most for a prompt; one whose thing is hidden is refused.
MOST_TRIED = 12
#: Seeds that belong to one scene's demonstrations.
RESERVED = 10_000
MOST_SYLLABLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A way to ask.

    Attributes:
        name: Of the case.
        about: In words, for a finding: "Unseen pairs called by ...".
        split: Of the scenes. `combination`: what is asked for is a colour-shape pair that no
            training scene holds; `seeds`: one that they hold.
        syllables: Of the word that it is called by, which means nothing; without any it is called
            by its colour and shape.
        misled: Whether another thing of the scene is demonstrated than the one that is asked for.
    """

    name: str
    about: str
    split: str
    syllables: tuple[str, ...] = ()
    misled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How one policy answered in one scene.

    Attributes:
        right: By the number of demonstrations, whether it looked at what was asked for.
        shown: How many demonstrations it took, of the most there are to be.
        refused: How many it refused before that.
        chance: How often a guess among the objects would be right.
    """

    right: Mapping[int, bool]
    shown: int
    refused: int
    chance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One scene of a case and what is said in it; equal arguments make equal trials."""

    case: Case
    index: int

    @property
    def scene(self) -> Scene:
        """The scene; that of an index is the same in all cases of a split."""
        skill = SKILLS[self.index % len(SKILLS)]
        return sample_scene(seed=TEST_SEED + self.index, split=self.case.split, skill=skill)

    def text(self, scene: Scene) -> str:
        """Return the instruction."""
        if not self.case.syllables:
            return scene.text
        rng = np.random.default_rng((scene.seed, 43))
        phrase = f"the {coin_word(rng, self.case.syllables)}"
        item = scene.find(scene.named)
        pair = (item.colour, item.shape)
        book = PhrasingBook.for_split("train")
        return book.sample(rng, scene.skill, pair, phrase=phrase, clause=True).text

    def demonstrated(self, scene: Scene) -> ObjectSpec:
        """Return the thing that demonstrations are of."""
        others = [item for item in scene.objects if item.name != scene.named]
        return others[0] if self.case.misled else scene.find(scene.named)


def coin_word(rng: Generator, syllables: Sequence[str]) -> str:
    """Return a word of up to three syllables."""
    return "".join(choose(rng, syllables) for _ in range(int(rng.integers(1, MOST_SYLLABLES + 1))))


@dataclass(slots=True)
class Demonstrator:
    """Shows things: how an expert's episode begins, and where the thing that it acts on stands.

    What is rendered is kept for as long as one scene is asked about.
    """

    environment: Environment = field(default_factory=lambda: Environment(cameras=("front",)))
    _kept: dict[tuple[str, str, int], Demonstration] = field(default_factory=dict)
    _index: int = -1

    def prompt(
        self, policy: BundlePolicy, trial: Trial, item: ObjectSpec
    ) -> tuple[list[Demonstration], int]:
        """Return demonstrations that a policy takes, and how many it refused before.

        Args:
            policy: To be shown; it has forgotten everything afterwards.
            trial: For which; equal trials get equal demonstrations.
            item: What to show.
        """
        if trial.index != self._index:
            self._kept.clear()
            self._index = trial.index
        taken: list[Demonstration] = []
        refused = 0
        while len(taken) < max(COUNTS) and len(taken) + refused < MOST_TRIED:
            demonstration = self._demonstrate(trial, item, len(taken) + refused)
            try:
                policy.show([demonstration])
            except UserError:
                refused += 1
            else:
                taken.append(demonstration)
        policy.show(())
        return taken, refused

    def _demonstrate(self, trial: Trial, item: ObjectSpec, number: int) -> Demonstration:
        key = (trial.case.split, item.name, number)
        if key not in self._kept:
            scene = _scene_with(item.name, trial, number)
            seen = self.environment.reset(scene).observation
            x, y, z = self.environment.table.judge.start_of(item.name)
            place = (float(x), float(y), float(z))
            self._kept[key] = Demonstration(observation=seen, xyz=place)
        return self._kept[key]


def _scene_with(name: str, trial: Trial, number: int) -> Scene:
    """Return a scene that holds a thing called `name`, of the seeds of one demonstration."""
    seeds = RESERVED // MOST_TRIED
    first = DEMONSTRATED_SEED + trial.index * RESERVED + number * seeds
    for seed in range(first, first + seeds):
        scene = sample_scene(seed=seed, split=trial.case.split)
        if any(item.name == name for item in scene.objects):
            return scene
    raise RuntimeError(f"no scene of {seeds} from seed {first} on has a {name}")


class Asker:
    """Asks policies about scenes, in one process."""

    def __init__(self, policies: Sequence[BundlePolicy]) -> None:
        """Ask `policies`."""
        self._policies = policies
        self._demonstrator = Demonstrator()

    @cached_property
    def _environment(self) -> Environment:
        return Environment()

    def ask(self, cases: Sequence[Case], index: int) -> list[list[Asked]]:
        """Return how every policy answers in every case, one row per case.

        Args:
            cases: Of one split, as they are about the same scene.
            index: Of the scene.
        """
        trials = [Trial(case=case, index=index) for case in cases]
        scene = trials[0].scene
        seen = self._environment.reset(scene).observation
        place = self._environment.table.judge.start_of(scene.named)
        return [
            [self._ask(policy, trial, scene, seen, place) for policy in self._policies]
            for trial in trials
        ]

    def _ask(
        self,
        policy: BundlePolicy,
        trial: Trial,
        scene: Scene,
        seen: Observation,
        place: FloatArray,
    ) -> Asked:
        prompt, refused = self._demonstrator.prompt(policy, trial, trial.demonstrated(scene))
        text, right = trial.text(scene), {}
        for count in COUNTS:
            policy.show(prompt[:count])
            policy.start(text)
            policy.infer(seen)
            right[count] = looks_at(policy.points, place)
        policy.show(())
        return Asked(
            right=right, shown=len(prompt), refused=refused, chance=1.0 / len(scene.objects)
        )

    def play(self, case: Case, index: int) -> list[tuple[EpisodeResult, EpisodeResult]]:
        """Return every policy's episode without, and with all demonstrations."""
        trial = Trial(case=case, index=index)
        scene = trial.scene
        text, pairs = trial.text(scene), []
        for policy in self._policies:
            prompt, _ = self._demonstrator.prompt(policy, trial, trial.demonstrated(scene))
            results = []
            for shown in ([], prompt):
                policy.show(shown)
                result = run_episode(
                    self._environment, policy, scene, instruction=text, index=index
                )
                results.append(replace(result, chance=1.0 / len(scene.objects)))
            policy.show(())
            pairs.append((results[0], results[1]))
        return pairs


def looks_at(points: Float32Array, place: FloatArray) -> bool:
    """Return whether what a policy takes for the object (2, 4) stands at a place (3,) [m].

    That is what acting starts from, whether words or pointer told the eyes what to look for.
    """
    return bool(np.linalg.norm(points[0, :2] - place[:2]) <= NEAR_M)
