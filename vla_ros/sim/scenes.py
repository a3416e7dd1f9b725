"""What stands on the table, drawn from a seed: things, light, camera pose, instruction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from vla_ros.sim.appearance import Appearance, sample_appearance
from vla_ros.sim.instructions import Instruction, PhrasingBook

SKILLS = ("reach", "push", "lift", "place", "stack")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("cube", "cylinder", "ball")
CONTAINERS = ("bowl", "plate")
SPLITS = ("train", "seeds", "phrasing", "combination", "anything")
DIRECTIONS: dict[str, tuple[float, float]] = {
    "left": (0.0, 1.0),
    "right": (0.0, -1.0),
    "forward": (1.0, 0.0),
    "backward": (-1.0, 0.0),
}

#: Colour-shape pairs that no training scene holds, not even as a distractor.
HELD_OUT_COMBINATIONS = (
    ("red", "cylinder"),
    ("blue", "ball"),
    ("yellow", "cube"),
    ("purple", "cylinder"),
)

#: Half sizes [m] of small and large objects; a cube's half edge, a cylinder's and a ball's radius.
HALF_SIZES = (0.014, 0.018)
CONTAINER_RADIUS = 0.048  # [m]
SHOULDER_X = 0.0388  # [m] the pan axis, seen from base_link
REACH = (0.135, 0.235)  # [m] object centres, distance from the pan axis
BEARING = 1.0  # [rad] object centres, to either side of straight ahead

#: First seed of the episodes of each split; training draws below `TEST_SEED`.
TEST_SEED = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSpec:
    """A rigid object: `half_size` in [m], `xy` in [m] in base_link, `yaw` in [rad]."""

    name: str
    shape: str
    colour: str
    half_size: float
    xy: tuple[float, float]
    yaw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """A bowl or a plate with its centre at `xy` [m] in base_link."""

    name: str
    xy: tuple[float, float]
    grey: float


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


def sample_containers(rng: Generator, skill: str) -> list[str]:
    """Draw which containers stand on the table; the first is the one to `place` into."""
    first = str(rng.choice(CONTAINERS))
    other = CONTAINERS[1 - CONTAINERS.index(first)]
    if skill == "place":
        return [first, other] if rng.random() < 0.5 else [first]
    count = int(rng.choice([0, 1, 2], p=[0.5, 0.4, 0.1]))
    return [first, other][:count]


def sample_layout(
    rng: Generator, kinds: list[tuple[str, str]], containers: list[str], direction: str | None
) -> tuple[tuple[ObjectSpec, ...], tuple[ContainerSpec, ...]] | None:
    """Place everything apart; None when the draw does not fit."""
    taken: list[tuple[NDArray[np.float64], float]] = []
    bowls: list[ContainerSpec] = []
    for name in containers:
        xy = _free_spot(rng, taken, CONTAINER_RADIUS, (0.16, 0.225))
        if xy is None:
            return None
        taken.append((xy, CONTAINER_RADIUS))
        bowls.append(
            ContainerSpec(name=name, xy=(float(xy[0]), float(xy[1])), grey=rng.uniform(0.55, 0.95))
        )
    objects: list[ObjectSpec] = []
    for index, (colour, shape) in enumerate(kinds):
        half = float(rng.choice(HALF_SIZES))
        lane = direction if index == 0 else None
        xy = _free_spot(rng, taken, 0.03, REACH, lane)
        if xy is None:
            return None
        taken.append((xy, 0.03))
        if lane is not None:  # the lane ahead of and behind a pushed object stays clear
            step = np.array(DIRECTIONS[lane])
            taken += [(xy + step * distance, 0.03) for distance in (-0.05, 0.05, 0.1)]
        objects.append(
            ObjectSpec(
                name=f"{colour} {shape}",
                shape=shape,
                colour=colour,
                half_size=half,
                xy=(float(xy[0]), float(xy[1])),
                yaw=float(rng.uniform(-math.pi, math.pi)),
            )
        )
    return tuple(objects), tuple(bowls)


def _free_spot(
    rng: Generator,
    taken: list[tuple[NDArray[np.float64], float]],
    radius: float,
    reach: tuple[float, float],
    lane: str | None = None,
) -> NDArray[np.float64] | None:
    for _ in range(60):
        distance = math.sqrt(rng.uniform(reach[0] ** 2, reach[1] ** 2))
        bearing = rng.uniform(-BEARING, BEARING)
        xy = np.array([SHOULDER_X + distance * math.cos(bearing), distance * math.sin(bearing)])
        if lane is not None and not lane_is_reachable(xy, lane):
            continue
        if all(np.hypot(*(xy - other)) > radius + size + 0.018 for other, size in taken):
            return xy
    return None


def lane_is_reachable(xy: NDArray[np.float64], lane: str) -> bool:
    """Whether the arm can push something at `xy` (2,) [m] along a direction."""
    step = np.array(DIRECTIONS[lane])
    for distance in (-0.055, 0.075):
        point = xy + step * distance - np.array([SHOULDER_X, 0.0])
        if not (0.12 <= np.hypot(*point) <= 0.25 and abs(math.atan2(point[1], point[0])) <= 1.2):
            return False
    return True


#: Where an episode starts [rad]: the arm drawn back above the table, the gripper open.
HOME = np.array([0.0, -0.95, 0.5, 1.5, 0.0, 0.9])


def sample_start(rng: Generator) -> NDArray[np.float64]:
    """Draw where the arm stands at the start (6,) [rad]."""
    spread = np.array([0.6, 0.2, 0.2, 0.12, 0.05, 0.3])
    return np.asarray(HOME + rng.uniform(-1, 1, 6) * spread)
