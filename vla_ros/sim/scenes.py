"""What stands on the table, drawn from a seed: things, light, camera pose, instruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from vla_ros.sim.appearance import Appearance, sample_appearance
from vla_ros.sim.instructions import Instruction, PhrasingBook
from vla_ros.sim.layout import (
    DIRECTIONS,
    ContainerSpec,
    ObjectSpec,
    sample_containers,
    sample_layout,
    sample_start,
)

SKILLS = ("reach", "push", "lift", "place", "stack")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("cube", "cylinder", "ball")
SPLITS = ("train", "seeds", "phrasing", "combination", "anything")
#: Colour-shape pairs that no training scene holds, not even as a distractor.
HELD_OUT_COMBINATIONS = (
    ("red", "cylinder"),
    ("blue", "ball"),
    ("yellow", "cube"),
    ("purple", "cylinder"),
)

#: First seed of the episodes of each split; training draws below `TEST_SEED`.
TEST_SEED = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One task in a scene.

    Attributes:
        skill: One of `SKILLS`.
        named: Name of the object that it is about.
        target: Name of the container or object that it goes onto; None for other skills.
        direction: Of a push; None for other skills.
        answers: Names of the objects that are as right as `named`, which is among them.
    """

    skill: str
    named: str
    target: str | None
    direction: str | None
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One episode's world and task. `named` and `target` are names of objects or containers.

    Attributes:
        answers: Names of the objects that the instruction may mean, if not only `named`.
        then: What the instruction asks for after that, in its order.
        absent: Whether the named thing is not there: the right answer is to refuse, and `named` is
            something else.
        chance: How often a guess among the objects would be right.
        noun_chance: How often a guess among those that the noun allows would be.
    """

    seed: int
    split: str
    skill: str
    objects: tuple[ObjectSpec, ...]
    containers: tuple[ContainerSpec, ...]
    named: str
    target: str | None
    direction: str | None
    instruction: Instruction
    appearance: Appearance
    initial_positions: NDArray[np.float64]  # (6,) [rad]
    answers: tuple[str, ...] = ()
    then: tuple[Goal, ...] = ()
    absent: bool = False
    chance: float = 0.0
    noun_chance: float = 0.0

    @property
    def goals(self) -> tuple[Goal, ...]:
        """Everything that is asked for, in its order."""
        first = Goal(
            skill=self.skill,
            named=self.named,
            target=self.target,
            direction=self.direction,
            answers=self.answers or (self.named,),
        )
        return (first, *self.then)

    @property
    def text(self) -> str:
        """The instruction as a sentence."""
        return self.instruction.text

    def find(self, name: str) -> ObjectSpec:
        """Return the object called `name`."""
        return next(item for item in self.objects if item.name == name)


def sample_scene(
    *,
    seed: int,
    split: str = "train",
    skill: str | None = None,
    phrasings: PhrasingBook | None = None,
) -> Scene:
    """Draw a scene; equal arguments give an equal scene.

    Args:
        seed: Of every random choice.
        split: `train`; `seeds` (train's words and combinations); `phrasing` (held-out templates);
            `combination` (the named object is a held-out colour-shape pair); `anything` (every
            pair may stand anywhere: for a user's own sentence).
        skill: One of `SKILLS`; None draws one.
        phrasings: Templates that replace the split's own.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} does not exist; choose one of {', '.join(SPLITS)}")
    if skill is not None and skill not in SKILLS:
        raise ValueError(f"skill {skill!r} does not exist; choose one of {', '.join(SKILLS)}")
    rng = np.random.default_rng((seed, SPLITS.index(split)))
    skill = skill or SKILLS[int(rng.integers(len(SKILLS)))]
    while True:
        scene = _try_scene(rng, seed, split, skill, phrasings)
        if scene is not None:
            return scene


def _try_scene(
    rng: Generator, seed: int, split: str, skill: str, phrasings: PhrasingBook | None
) -> Scene | None:
    kinds = _sample_kinds(rng, split, skill)
    direction = str(rng.choice(list(DIRECTIONS))) if skill == "push" else None
    layout = sample_layout(rng, kinds, sample_containers(rng, skill), direction)
    if layout is None:
        return None
    objects, containers = layout
    target: str | None = None
    if skill == "place":
        target = containers[0].name
    elif skill == "stack":
        target = objects[1].name
    instruction = _phrase(rng, split, skill, objects, target, direction, phrasings)
    return Scene(
        seed=seed,
        split=split,
        skill=skill,
        objects=objects,
        containers=containers,
        named=objects[0].name,
        target=target,
        direction=direction,
        instruction=instruction,
        appearance=sample_appearance(rng, len(objects)),
        initial_positions=sample_start(rng),
    )


def _phrase(
    rng: Generator,
    split: str,
    skill: str,
    objects: Sequence[ObjectSpec],
    target: str | None,
    direction: str | None,
    phrasings: PhrasingBook | None,
) -> Instruction:
    book = phrasings or PhrasingBook.for_split("phrasing" if split == "phrasing" else "train")
    named = objects[0]
    goal: str | tuple[str, str] | None = target
    if skill == "stack":
        goal = (objects[1].colour, objects[1].shape)
    return book.sample(rng, skill, (named.colour, named.shape), target=goal, direction=direction)


def allowed(split: str, colour: str, shape: str) -> bool:
    """Whether a colour-shape pair may stand on the tables of a split."""
    return split in ("combination", "anything") or (colour, shape) not in HELD_OUT_COMBINATIONS


def _sample_kinds(rng: Generator, split: str, skill: str) -> list[tuple[str, str]]:
    """Colour and shape of every object, the named one first; all pairs differ.

    Distractors share the named object's colour or shape more often than chance, so that neither
    alone decides.
    """
    everything = [(c, s) for c in COLOURS for s in SHAPES if allowed(split, c, s)]
    first = list(HELD_OUT_COMBINATIONS) if split == "combination" else everything
    if skill == "stack":
        first = [pair for pair in first if pair[1] != "ball"]
    kinds = [first[int(rng.integers(len(first)))]]
    count = int(rng.integers(2, 6))
    if skill == "stack":
        flat = [p for p in everything if p[1] != "ball" and p not in kinds]
        kinds.append(flat[int(rng.integers(len(flat)))])
    while len(kinds) < count:
        pool = [pair for pair in everything if pair not in kinds]
        alike = [p for p in pool if p[0] == kinds[0][0] or p[1] == kinds[0][1]]
        chosen = alike if alike and rng.random() < 0.5 else pool
        kinds.append(chosen[int(rng.integers(len(chosen)))])
    return kinds
