"""Scenes of the reasoning suites: which thing is meant takes a look at all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from vla_ros.sim.appearance import sample_appearance
from vla_ros.sim.instructions import Instruction, PhrasingBook
from vla_ros.sim.layout import (
    DIRECTIONS,
    ContainerSpec,
    ObjectSpec,
    lane_is_reachable,
    sample_containers,
    sample_layout,
    sample_start,
)
from vla_ros.sim.noun_phrases import choose
from vla_ros.sim.reference_phrases import phrase_of
from vla_ros.sim.references import REFERENCE_SUITES, Reference, Thing, draw_reference
from vla_ros.sim.scenes import COLOURS, HELD_OUT_COMBINATIONS, SHAPES, Goal, Scene, allowed

#: The suites, in the order in which they are reported.
REASONING_SUITES = (*REFERENCE_SUITES, "steps", "absent")
REASONING_SPLITS = ("seeds", "phrasing", "combination")
#: What is done with the thing that is meant; they take turns.
REASONING_SKILLS = ("reach", "push", "lift", "place")
#: Of the scenes of `absent`, every second one holds what is named.
PRESENT_EVERY = 2
LANE_M = 0.06  # what must be clear beside the path of a pushed object


def sample_reasoning_scene(
    *, seed: int, suite: str, split: str = "seeds", skill: str | None = None
) -> Scene:
    """Draw a scene of a reasoning suite; equal arguments give an equal scene.

    Args:
        seed: Of every random choice.
        suite: One of `REASONING_SUITES`.
        split: `seeds` (phrases that training reads); `phrasing` (held-out phrases); `combination`
            (the thing that is meant is a colour-shape pair that training never sees).
        skill: One of `REASONING_SKILLS`; None draws one.
    """
    for name, value, choices in (
        ("suite", suite, REASONING_SUITES),
        ("split", split, REASONING_SPLITS),
        ("skill", skill or REASONING_SKILLS[0], REASONING_SKILLS),
    ):
        if value not in choices:
            raise ValueError(
                f"{name} {value!r} does not exist; choose one of {', '.join(choices)}"
            )
    key = (seed, 101 + REASONING_SUITES.index(suite), REASONING_SPLITS.index(split))
    rng = np.random.default_rng(key)
    skill = skill or REASONING_SKILLS[int(rng.integers(len(REASONING_SKILLS)))]
    while True:
        scene = _try_scene(rng, seed, suite, split, skill)
        if scene is not None:
            return scene


def things_of(
    objects: Sequence[ObjectSpec], containers: Sequence[ContainerSpec]
) -> tuple[Thing, ...]:
    """Return what references are found among, objects first."""
    return (
        *(Thing(shape=o.shape, colour=o.colour, half=o.half_size, xy=o.xy) for o in objects),
        *(Thing(shape=c.name, colour=None, half=0.0, xy=c.xy) for c in containers),
    )


def _try_scene(rng: Generator, seed: int, suite: str, split: str, skill: str) -> Scene | None:
    kinds = _sample_kinds(rng, split)
    layout = sample_layout(rng, kinds, sample_containers(rng, skill), None)
    if layout is None:
        return None
    objects, containers = layout
    if suite == "steps":
        return _with_steps(rng, _bare(rng, seed, split, skill, objects, containers))
    if suite == "absent":
        present = seed % PRESENT_EVERY == 0
        return _absent(rng, _bare(rng, seed, split, skill, objects, containers), present)
    things = things_of(objects, containers)
    reference = draw_reference(rng, suite, things)
    if reference is None:
        return None
    scene = _bare(rng, seed, split, skill, objects, containers)
    return _refer(rng, scene, things, reference)


def _bare(
    rng: Generator,
    seed: int,
    split: str,
    skill: str,
    objects: tuple[ObjectSpec, ...],
    containers: tuple[ContainerSpec, ...],
) -> Scene:
    """Return a scene whose task is still to be said."""
    return Scene(
        seed=seed,
        split=split,
        skill=skill,
        objects=objects,
        containers=containers,
        named=objects[0].name,
        target=containers[0].name if skill == "place" else None,
        direction=None,
        instruction=_unsaid(skill, objects[0]),
        appearance=sample_appearance(rng, len(objects)),
        initial_positions=sample_start(rng),
        chance=1.0 / len(objects),
        noun_chance=1.0 / len(objects),
    )


def _unsaid(skill: str, item: ObjectSpec) -> Instruction:
    return Instruction(text="", template="", skill=skill, colour=item.colour, shape=item.shape)


def _refer(
    rng: Generator, scene: Scene, things: Sequence[Thing], reference: Reference
) -> Scene | None:
    """Return the scene with the object that a reference means as the one to act on."""
    answers = [scene.objects[index] for index in reference.answers]
    if scene.split == "combination" and not any(map(_held_out, answers)):
        return None
    directions = {_draw_direction(rng, scene, item) for item in answers}
    if scene.skill == "push" and (None in directions or len(directions) > 1):
        return None
    direction = directions.pop() if scene.skill == "push" else None
    phrase = phrase_of(rng, reference, things, scene.split)
    told = _say(rng, scene, scene.skill, answers[0], direction, phrase)
    return replace(
        told,
        answers=tuple(item.name for item in answers),
        chance=len(answers) / len(scene.objects),
        noun_chance=len(answers) / len(reference.candidates),
    )


def _say(
    rng: Generator,
    scene: Scene,
    skill: str,
    item: ObjectSpec,
    direction: str | None,
    phrase: str | None = None,
    clause: bool = False,
) -> Scene:
    """Return the scene with the instruction to act on an object."""
    book = PhrasingBook.for_split("phrasing" if scene.split == "phrasing" else "train")
    instruction = book.sample(
        rng,
        skill,
        (item.colour, item.shape),
        target=scene.target,
        direction=direction,
        phrase=phrase,
        clause=clause,
    )
    return replace(scene, named=item.name, direction=direction, instruction=instruction)


def _absent(rng: Generator, scene: Scene, present: bool) -> Scene | None:
    """Name something that is on the table, or something that is not, though its parts may be."""
    here = {(item.colour, item.shape): item for item in scene.objects}
    pairs = [(c, s) for c in COLOURS for s in SHAPES if allowed(scene.split, c, s)]
    if scene.split == "combination":
        pairs = list(HELD_OUT_COMBINATIONS)
    options = [pair for pair in pairs if (pair in here) == present]
    if not options:
        return None
    alike = [p for p in options if any(p[0] == c or p[1] == s for c, s in here)]
    pair = choose(rng, alike if alike and rng.random() < 0.7 else options)
    item = here.get(pair) or replace(
        scene.objects[0], name=" ".join(pair), colour=pair[0], shape=pair[1]
    )
    direction = None
    if scene.skill == "push":
        direction = _draw_direction(rng, scene, item) if present else choose(rng, [*DIRECTIONS])
        if direction is None:
            return None
    told = _say(rng, scene, scene.skill, item, direction)
    named = told.named if present else scene.objects[0].name
    # a guesser refuses every other sentence, and takes any object for the rest
    chance = 0.5 / len(scene.objects) if present else 0.5
    return replace(told, named=named, absent=not present, chance=chance, noun_chance=chance)


#: What may be done first: afterwards the hand is empty.
_FIRST = ("push", "place", "reach")


def _with_steps(rng: Generator, scene: Scene) -> Scene | None:
    """Ask for two things in a row, with two objects."""
    first_skill = choose(rng, [s for s in _FIRST if s != "place" or scene.containers])
    first, second = (scene.objects[int(i)] for i in rng.permutation(len(scene.objects))[:2])
    if scene.split == "combination" and not (_held_out(first) or _held_out(second)):
        return None
    container = scene.containers[0].name if scene.containers else None
    goals, texts = [], []
    for skill, item in ((first_skill, first), (scene.skill, second)):
        direction = _draw_direction(rng, scene, item) if skill == "push" else None
        if skill == "push" and direction is None:
            return None
        target = container if skill == "place" else None
        told = _say(rng, replace(scene, target=target), skill, item, direction, clause=True)
        texts.append(told.text.rstrip(".!?"))
        goals.append(
            Goal(
                skill=skill,
                named=item.name,
                target=target,
                direction=direction,
                answers=(item.name,),
            )
        )
    text = choose(rng, _SEQUENCES[scene.split == "phrasing"]).format(*texts)
    here, *later = goals
    chance = 1.0 / (len(scene.objects) * (len(scene.objects) - 1))
    return replace(
        scene,
        skill=here.skill,
        named=here.named,
        target=here.target,
        direction=here.direction,
        instruction=replace(_unsaid(here.skill, first), text=text, template="steps"),
        then=tuple(later),
        chance=chance,
        noun_chance=chance,
    )


#: How two orders are put in a row, of training and held out.
_SEQUENCES = (
    ("{0}, then {1}", "{0} and then {1}", "first {0}, then {1}", "{0}. After that, {1}"),
    ("{0}; once that is done, {1}", "begin with this: {0}. Afterwards {1}"),
)


def _sample_kinds(rng: Generator, split: str) -> list[tuple[str, str]]:
    """Colour and shape of three to five objects, all different and most of them alike."""
    pairs = [(c, s) for c in COLOURS for s in SHAPES if allowed(split, c, s)]
    first = list(HELD_OUT_COMBINATIONS) if split == "combination" else pairs
    kinds = [choose(rng, first)]
    for _ in range(int(rng.integers(2, 5))):
        pool = [pair for pair in pairs if pair not in kinds]
        alike = [p for p in pool if any(p[0] == c or p[1] == s for c, s in kinds)]
        kinds.append(choose(rng, alike if alike and rng.random() < 0.7 else pool))
    return kinds


def _held_out(item: ObjectSpec) -> bool:
    return (item.colour, item.shape) in HELD_OUT_COMBINATIONS


def _draw_direction(rng: Generator, scene: Scene, item: ObjectSpec) -> str | None:
    """Draw a way that an object can be pushed with nothing in it; None if there is none."""
    others = [np.array(o.xy) for o in scene.objects if o.name != item.name]
    others += [np.array(c.xy) for c in scene.containers]
    free = []
    for direction, step in DIRECTIONS.items():
        lane = [np.array(item.xy) + np.array(step) * far for far in (-0.05, 0.05, 0.1)]
        clear = all(np.hypot(*(p - o)) > LANE_M + 0.018 for p in lane for o in others)
        if clear and lane_is_reachable(np.array(item.xy), direction):
            free.append(direction)
    return choose(rng, free) if free else None
