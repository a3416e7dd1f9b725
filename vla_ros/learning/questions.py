"""Questions about rendered states: which of the things is meant, or that it is not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from vla_ros.learning.rollouts import KINDS
from vla_ros.learning.texts import PAIRS, UNTOLD
from vla_ros.sim.instructions import PhrasingBook
from vla_ros.sim.layout import CONTAINERS, DIRECTIONS
from vla_ros.sim.noun_phrases import choose
from vla_ros.sim.reference_phrases import phrase_of
from vla_ros.sim.references import ANY as EVERYTHING
from vla_ros.sim.references import FORMS, Reference, Thing, draw_reference
from vla_ros.sim.scenes import COLOURS, SHAPES

#: Shares of what is asked: by colour and shape, by reasoning, for something that is not there.
SHARES = {
    "pair": 0.26,
    "absent": 0.2,
    "attribute": 0.06,
    "spatial": 0.2,
    "comparison": 0.1,
    "counting": 0.1,
    "negation": 0.08,
    "novel": 0.06,
}
#: Parts of words that mean nothing; demonstrations tell what they stand for.
SYLLABLES = tuple(a + b for a in "bdfgklmnprstvwz" for b in ("a", "e", "i", "o", "u", "ax", "ug"))
#: Of the absent ones, how many lack the container, or the base of a stack, and not the object.
NO_TARGET = 0.25
#: A description that does not say: anything may fit, or only the scene itself tells.
ANY, UNKNOWN = -1, -2


#: What a sentence says of how the object is named, as classes that question slots are trained to
#: tell: the form of the reference; colour and kind of what it relates to; the noun; the colour
#: that it says; the shape that it says. UNTOLD where it says none.
TOLD = {
    "form": len(FORMS),
    "anchor_colour": len(COLOURS) + 1,
    "anchor_kind": len(KINDS),
    "noun": len(SHAPES) + 1,
    "colour": len(COLOURS),
    "shape": len(SHAPES),
}
NOTHING_TOLD = (UNTOLD,) * len(TOLD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One sentence about a scene and what it means there.

    Attributes:
        text: The sentence.
        kind: One of `SHARES`.
        answers: Indices of the things that are right as the object; none if it is not there.
        target: Index of the target; -1 without one, or if it is not there.
        described: Indices of colour and kind that the object is described by.
        target_described: Likewise of the target; (ANY, ANY) without one.
        told: Classes of `TOLD`.
    """

    text: str
    kind: str
    answers: tuple[int, ...]
    target: int
    described: tuple[int, int]
    target_described: tuple[int, int]
    told: tuple[int, ...] = NOTHING_TOLD

    @property
    def present(self) -> bool:
        """Whether everything that is asked for is there."""
        lacks_target = self.target_described != (ANY, ANY) and self.target < 0
        return bool(self.answers) and not lacks_target


def ask(rng: Generator, things: Sequence[Thing]) -> Question:
    """Draw a question about a scene."""
    names, shares = tuple(SHARES), np.array(list(SHARES.values()))
    while True:
        kind = names[int(rng.choice(len(names), p=shares / shares.sum()))]
        question = _ask(rng, kind, things)
        if question is not None:
            return question


def _ask(rng: Generator, kind: str, things: Sequence[Thing]) -> Question | None:
    objects = [index for index, thing in enumerate(things) if thing.movable]
    containers = [index for index, thing in enumerate(things) if not thing.movable]
    if kind == "novel":
        return _by_novel_word(rng, things, objects)
    if kind == "absent" and rng.random() < NO_TARGET:
        return _without_target(rng, things, objects, containers)
    if kind in ("pair", "absent"):
        return _by_pair(rng, kind, things, objects, containers)
    reference = draw_reference(rng, kind, things)
    return None if reference is None else _by_reference(rng, reference, things, containers)


def _by_pair(
    rng: Generator, kind: str, things: Sequence[Thing], objects: list[int], containers: list[int]
) -> Question | None:
    """Name a colour and a shape, there or not."""
    here = {_pair(things[index]): index for index in objects}
    options = [pair for pair in PAIRS if (pair in here) == (kind == "pair")]
    if not options:
        return None
    alike = [p for p in options if any(p[0] == c or p[1] == s for c, s in here)]
    pair = choose(rng, alike if alike and rng.random() < 0.7 else options)
    bases = [i for i in objects if things[i].shape != "ball" and _pair(things[i]) != pair]
    skills = ["reach", "lift", "push", *(["place"] * 3 if containers else [])]
    if bases and pair[1] != "ball":
        skills += ["stack"] * 4
    skill = choose(rng, skills)
    target = {"place": containers, "stack": bases}.get(skill, [])
    index = choose(rng, target) if target else -1
    return _question(rng, kind, things, skill, pair, [here[pair]] if pair in here else [], index)


def _by_reference(
    rng: Generator, reference: Reference, things: Sequence[Thing], containers: list[int]
) -> Question:
    skill = choose(rng, ["reach", "lift", "push", *(["place"] if containers else [])])
    target = choose(rng, containers) if skill == "place" else -1
    phrase = phrase_of(rng, reference, things)
    pair = _pair(things[reference.answers[0]])
    question = _question(
        rng, reference.suite, things, skill, pair, list(reference.answers), target, phrase
    )
    return replace(question, told=_told(reference, things))


def _told(reference: Reference, things: Sequence[Thing]) -> tuple[int, ...]:
    words = reference.words
    anchor = (UNTOLD, UNTOLD) if reference.anchor is None else _classes(things[reference.anchor])
    noun = words.get("noun")
    return (
        FORMS.index(reference.form),
        *anchor,
        UNTOLD if noun is None else (*SHAPES, EVERYTHING).index(noun),
        COLOURS.index(words["colour"]) if "colour" in words else UNTOLD,
        SHAPES.index(words["shape"]) if "shape" in words else UNTOLD,
    )


def _by_novel_word(rng: Generator, things: Sequence[Thing], objects: list[int]) -> Question | None:
    """Call a thing by a word that nobody has heard."""
    named = [index for index in objects if _pair(things[index]) in PAIRS]
    if not named:
        return None
    index = choose(rng, named)
    word = "".join(choose(rng, SYLLABLES) for _ in range(int(rng.integers(1, 4))))
    pair, skill = _pair(things[index]), choose(rng, ["reach", "lift"])
    return Question(
        text=_sentence(rng, skill, pair, None, f"the {word}"),
        kind="novel",
        answers=(index,),
        target=-1,
        described=_described(pair),
        target_described=(ANY, ANY),
    )


def _without_target(
    rng: Generator, things: Sequence[Thing], objects: list[int], containers: list[int]
) -> Question | None:
    """Name a thing that is there, and somewhere to put it that is not."""
    here = {_pair(things[index]) for index in objects}
    named = [index for index in objects if _pair(things[index]) in PAIRS]
    skill = choose(rng, ["place", "stack"])
    missing: list[str] | list[tuple[str, str]]
    if skill == "place":
        missing = [
            name for name in CONTAINERS if name not in {things[i].shape for i in containers}
        ]
    else:
        missing = [pair for pair in PAIRS if pair not in here and pair[1] != "ball"]
        named = [index for index in named if things[index].shape != "ball"]
    if not (missing and named):
        return None
    index = choose(rng, named)
    goal = missing[int(rng.integers(len(missing)))]
    pair = _pair(things[index])
    return Question(
        text=_sentence(rng, skill, pair, goal, None),
        kind="absent",
        answers=(index,),
        target=-1,
        described=_described(pair),
        target_described=(
            (len(COLOURS), KINDS.index(goal)) if isinstance(goal, str) else _described(goal)
        ),
    )


def _question(
    rng: Generator,
    kind: str,
    things: Sequence[Thing],
    skill: str,
    pair: tuple[str, str],
    answers: list[int],
    target: int,
    phrase: str | None = None,
) -> Question:
    goal: str | tuple[str, str] | None = None
    if target >= 0:
        goal = things[target].shape if skill == "place" else _pair(things[target])
    described = _described(pair)
    if phrase is not None:
        described = (UNKNOWN, UNKNOWN)
    return Question(
        text=_sentence(rng, skill, pair, goal, phrase),
        kind=kind,
        answers=tuple(answers),
        target=target,
        described=described,
        target_described=(ANY, ANY) if target < 0 else _classes(things[target]),
    )


def _sentence(
    rng: Generator,
    skill: str,
    pair: tuple[str, str],
    goal: str | tuple[str, str] | None,
    phrase: str | None,
) -> str:
    direction = choose(rng, list(DIRECTIONS)) if skill == "push" else None
    book = PhrasingBook.for_split("train")
    return book.sample(rng, skill, pair, target=goal, direction=direction, phrase=phrase).text


def _pair(thing: Thing) -> tuple[str, str]:
    assert thing.colour is not None
    return thing.colour, thing.shape


def _described(pair: tuple[str, str]) -> tuple[int, int]:
    return COLOURS.index(pair[0]), KINDS.index(pair[1])


def _classes(thing: Thing) -> tuple[int, int]:
    colour = len(COLOURS) if thing.colour is None else COLOURS.index(thing.colour)
    return colour, KINDS.index(thing.shape)
