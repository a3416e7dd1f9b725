"""Which episodes an evaluation plays: seeds, skills and instructions, fixed before it starts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from vla_ros.core.errors import UserError
from vla_ros.engine.scheduling import ScheduleSettings
from vla_ros.evaluation.deprivation import LOSABLE
from vla_ros.evaluation.disturbance import DISTURBANCES, Disturbance, find_disturbances
from vla_ros.sim.instruction_files import load_phrasings
from vla_ros.sim.instructions import PhrasingBook
from vla_ros.sim.reasoning import REASONING_SKILLS, REASONING_SUITES, sample_reasoning_scene
from vla_ros.sim.scenes import SKILLS, TEST_SEED, Scene, sample_scene

#: What `--split` may be. Training draws from `train` alone, and from seeds below `TEST_SEED`.
SPLITS = ("seeds", "phrasing", "combination")
ABLATIONS = ("instruction", "vision")
SUITES = ("core", *REASONING_SUITES)
#: Engine of evaluations that name none.
BACKEND = "onnxruntime"
#: Longest duration of an episode in [s].
LIMIT_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """What is played; equal plans give equal episodes, in whatever order they run.

    Attributes:
        suite: Which tasks: `core`, or one of `vla_ros.sim.reasoning.REASONING_SUITES`.
        split: `seeds`, `phrasing` or `combination`.
        episodes: How many. Episode `i` has seed `first_seed + i`, and the
            skills take turns.
        first_seed: Of the first scene, `TEST_SEED` or above.
        phrasings: A phrasing file whose templates replace the split's.
        ablate: `instruction`: each episode's policy is told another episode's sentence. `vision`:
            it sees another scene, so that words alone have to do.
        without: Sensors that are taken away from the policy, of `deprivation.LOSABLE`.
        disturb: What goes wrong with the senses, of `disturbance.DISTURBANCES`.
        patch: A PNG in place of the shipped adversarial patch.
        adaptive: Whether the policy infers only when something has happened.
        backend: Engine that runs the policy's graphs, `name` or `name:argument`.
        limit_s: Longest duration of an episode in simulated [s].
        delay_s: From an observation to when the gate has the chunk made of it [s], one inference
            at a time; 0 to have it at once.
        schedule: How the policy's chunks become motion.
    """

    suite: str = "core"
    split: str = "seeds"
    episodes: int = 200
    first_seed: int = TEST_SEED
    phrasings: Path | None = None
    ablate: str | None = None
    without: tuple[str, ...] = ()
    disturb: tuple[str, ...] = ()
    patch: Path | None = None
    adaptive: bool = False
    backend: str = BACKEND
    limit_s: float = LIMIT_S
    delay_s: float = 0.0
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            UserError: names the option, what was expected and what came.
        """
        for name, value, choices in (
            ("suite", self.suite, SUITES),
            ("split", self.split, SPLITS),
            ("ablate", self.ablate or ABLATIONS[0], ABLATIONS),
            *(("without", name, tuple(LOSABLE)) for name in self.without),
            *(("disturb", name, tuple(DISTURBANCES)) for name in self.disturb),
        ):
            if value not in choices:
                raise UserError(f"{name} {value!r} does not exist; choose {' or '.join(choices)}")
        if self.suite != "core" and self.phrasings is not None:
            raise UserError("--phrasings replaces the core suite's words; it takes no other suite")
        fewest = 2 if self.ablate == "instruction" else 1
        if self.episodes < fewest:
            raise UserError(f"episodes is {self.episodes}; expected {fewest} or more")
        if not 0.0 <= self.delay_s < math.inf:
            raise UserError(f"delay is {self.delay_s}; expected 0 or a duration above 0 s")
        if not self.limit_s > 0:
            raise UserError(f"limit_s is {self.limit_s}; expected a duration above 0 s")
        if self.first_seed < TEST_SEED:
            raise UserError(
                f"seed {self.first_seed} belongs to training; seeds of evaluations begin at "
                f"{TEST_SEED}"
            )

    @property
    def takes_time(self) -> bool:
        """Whether chunks come late, or are not executed as they come."""
        return self.delay_s > 0.0 or self.schedule != ScheduleSettings()

    def disturbances(self) -> tuple[Disturbance, ...]:
        """Return what goes wrong with the senses, in the order in which it is applied."""
        return find_disturbances(self.disturb, self.patch)

    def lost(self) -> tuple[str, ...]:
        """Return the sensors that are taken away, by `without` or by a disturbance."""
        taken = (disturbance.loses for disturbance in self.disturbances())
        return (*self.without, *(sensor for sensor in taken if sensor is not None))

    def skills(self) -> tuple[str, ...]:
        """Return the skills that are played in turn: with a phrasing file, those it has.

        Raises:
            UserError: if the file is no phrasing file.
        """
        if self.suite != "core":
            return REASONING_SKILLS
        if self.phrasings is None:
            return SKILLS
        return tuple(skill for skill in SKILLS if skill in _templates(self.phrasings))

    def scene(self, index: int) -> Scene:
        """Return the scene of an episode."""
        skills = self.skills()
        if self.suite != "core":
            return sample_reasoning_scene(
                seed=self.first_seed + index,
                suite=self.suite,
                split=self.split,
                skill=skills[index // 2 % len(skills)],  # `absent` takes turns by twos itself
            )
        return sample_scene(
            seed=self.first_seed + index,
            split=self.split,
            skill=skills[index % len(skills)],
            phrasings=None if self.phrasings is None else _book(self.phrasings),
        )

    def instructions(self) -> tuple[str, ...]:
        """Return what the policy is told in each episode.

        With the ablation, sentences are dealt out anew so that no episode keeps its own words.

        Raises:
            UserError: if that is impossible because too many episodes have the same sentence.
        """
        own = [self.scene(index).text for index in range(self.episodes)]
        shuffled = self.ablate == "instruction"
        return tuple(deal_anew(own, self.first_seed) if shuffled else own)


def first_seed(number: int) -> int:
    """Return the first seed for `--seed number`: a test seed as it is, a small one as an offset.

    Raises:
        UserError: if it is negative.
    """
    if number < 0:
        raise UserError(f"--seed is {number}; expected 0 or more")
    return number if number >= TEST_SEED else TEST_SEED + number


@cache
def _templates(path: Path) -> dict[str, tuple[str, ...]]:
    return load_phrasings(path)


@cache
def _book(path: Path) -> PhrasingBook:
    return PhrasingBook.from_phrasings(path)


def deal_anew(sentences: list[str], seed: int) -> list[str]:
    """Return a permutation in which no place keeps a sentence equal to its own."""
    rng = np.random.default_rng((seed, 29))
    order = rng.permutation(len(sentences))
    for place in range(len(sentences)):
        if sentences[order[place]] != sentences[place]:
            continue
        swaps = [
            other
            for other in range(len(sentences))
            if sentences[order[other]] != sentences[place]
            and sentences[order[place]] != sentences[other]
        ]
        if not swaps:
            raise UserError(
                f"{len(sentences)} episodes have too few different sentences to shuffle; "
                "take more episodes or more phrasings"
            )
        other = int(rng.choice(swaps))
        order[place], order[other] = order[other], order[place]
    return [sentences[index] for index in order]
