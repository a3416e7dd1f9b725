"""Questions about rendered states: which of the things is meant, or that it is not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.rollouts import KINDS, MAX_THINGS
from vla_ros.learning.texts import PAIRS, UNTOLD, embed_once
from vla_ros.sim.instructions import PhrasingBook
from vla_ros.sim.noun_phrases import choose
from vla_ros.sim.reference_phrases import phrase_of
from vla_ros.sim.references import ANY as EVERYTHING
from vla_ros.sim.references import FORMS, Reference, Thing, draw_reference
from vla_ros.sim.scenes import COLOURS, CONTAINERS, DIRECTIONS, SHAPES

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
#: Of the absent ones, how many name a container that is not there.
NO_CONTAINER = 0.15
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
    if kind == "absent" and rng.random() < NO_CONTAINER:
        return _without_container(rng, things, objects, containers)
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
        skills += ["stack"] * 2
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


def _without_container(
    rng: Generator, things: Sequence[Thing], objects: list[int], containers: list[int]
) -> Question | None:
    missing = [name for name in CONTAINERS if name not in {things[i].shape for i in containers}]
    named = [index for index in objects if _pair(things[index]) in PAIRS]
    if not (missing and named):
        return None
    index = choose(rng, named)
    name = choose(rng, missing)
    text = _sentence(rng, "place", _pair(things[index]), name, None)
    return Question(
        text=text,
        kind="absent",
        answers=(index,),
        target=-1,
        described=_described(_pair(things[index])),
        target_described=(len(COLOURS), KINDS.index(name)),
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


@dataclass(slots=True)
class QuestionBank:
    """Questions about N rendered states, Q about each; a question has a row in `features`.

    Attributes:
        features: Token features of the sentences (R, L, F) float16.
        masks: (R, L).
        rows: Of each question (N, Q); -1 where the sentence is too long to be read.
        answers: (N, Q, MAX_THINGS), true for the things that are right.
        target: (N, Q), -1 for none.
        present: (N, Q).
        described: Colour and kind of object and of target (N, Q, 2, 2).
        novel: (N, Q), whether only demonstrations tell what is meant.
        told: Classes of `TOLD` (N, Q, T).
    """

    features: NDArray[np.float16]
    masks: NDArray[np.bool_]
    rows: NDArray[np.int64]
    answers: NDArray[np.bool_]
    target: NDArray[np.int64]
    present: NDArray[np.bool_]
    described: NDArray[np.int64]
    novel: NDArray[np.bool_]
    told: NDArray[np.int64]

    @staticmethod
    def build(
        data: Demonstrations, language: Path, per_state: int, cache: Path | None
    ) -> QuestionBank:
        """Ask `per_state` questions about every rendered state, and embed them once per cache."""
        rng = np.random.default_rng((0, 41))
        asked = [
            [ask(rng, things) for _ in range(per_state)]
            for things in (things_at(data, int(row)) for row in data.images["row"])
        ]
        flat = [question for about in asked for question in about]
        features, masks, keep = embed_once(language, [q.text for q in flat], cache)
        rows = np.full(len(flat), -1)
        rows[keep] = np.arange(len(keep))
        answers = np.zeros((len(flat), MAX_THINGS), bool)
        for index, question in enumerate(flat):
            answers[index, list(question.answers)] = True
        shape = (len(asked), per_state)
        return QuestionBank(
            features=features,
            masks=masks,
            rows=rows.reshape(shape),
            answers=answers.reshape(*shape, MAX_THINGS),
            target=np.array([q.target for q in flat]).reshape(shape),
            present=np.array([q.present for q in flat]).reshape(shape),
            described=np.array([(q.described, q.target_described) for q in flat]).reshape(
                *shape, 2, 2
            ),
            novel=np.array([q.kind == "novel" for q in flat]).reshape(shape),
            told=np.array([q.told for q in flat]).reshape(*shape, len(TOLD)),
        )


def things_at(data: Demonstrations, row: int) -> tuple[Thing, ...]:
    """Return what stands on the table in a state, as references are found among it."""
    episode = int(data.states["episode"][row])
    places = data.states["positions"][row]
    things = []
    for index, kind in enumerate(data.meta["kind"][episode]):
        if kind < 0:
            break
        colour = int(data.meta["colour"][episode, index])
        things.append(
            Thing(
                shape=KINDS[int(kind)],
                colour=COLOURS[colour] if kind < len(SHAPES) else None,
                half=float(data.meta["half"][episode, index]),
                xy=(float(places[index, 0]), float(places[index, 1])),
            )
        )
    return tuple(things)
