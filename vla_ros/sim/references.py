"""Referring expressions: which thing on a table is meant by how it relates to the others.

Left is +y and away is +x in base_link, as for pushes: what the robot calls left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

#: By what a margin [m] a relation must hold for the one that is meant, and fail for the others.
HOLDS_M, FAILS_M = 0.025, 0.008
#: By how much the nearest thing must be nearer than the next one [m].
NEARER_M = 0.025
#: By how much half sizes must differ to be told apart [m].
LARGER_M = 0.003
ANY = "object"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """Something on the table: `xy` and `half` in [m]; a container has no colour and no half."""

    shape: str
    colour: str | None
    half: float
    xy: tuple[float, float]

    @property
    def movable(self) -> bool:
        """Whether it is an object and no container."""
        return self.colour is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a noun phrase says, and whom it means.

    Attributes:
        suite: Which kind of reasoning it takes.
        form: Of the phrase, as in `config/instructions/reasoning.yaml`.
        answers: Indices of the things that are right, mostly one.
        candidates: Indices of those that the noun alone would allow.
        words: What fills the phrase's slots: `noun`, `colour`, `other`, `shape`.
        anchor: Index of the thing that the phrase relates to.
    """

    suite: str
    form: str
    answers: tuple[int, ...]
    candidates: tuple[int, ...]
    words: Mapping[str, str] = field(default_factory=dict)
    anchor: int | None = None


Finder = Callable[[Sequence[Thing]], Iterator[Reference]]


def find_references(suite: str, things: Sequence[Thing]) -> list[Reference]:
    """Return everything that could be said in a suite about the things, each unambiguous."""
    return list(_FINDERS[suite](things))


def draw_reference(rng: Generator, suite: str, things: Sequence[Thing]) -> Reference | None:
    """Draw one, every form that is possible as likely as the others; None if nothing is."""
    found = find_references(suite, things)
    if not found:
        return None
    forms = sorted({reference.form for reference in found})
    form = forms[int(rng.integers(len(forms)))]
    options = [reference for reference in found if reference.form == form]
    return options[int(rng.integers(len(options)))]


def _objects(things: Sequence[Thing]) -> list[int]:
    return [index for index, thing in enumerate(things) if thing.movable]


def _nouns(things: Sequence[Thing], but: int | None = None) -> Iterator[tuple[str, list[int]]]:
    """Yield each noun with the objects that it allows, two at least."""
    objects = [index for index in _objects(things) if index != but]
    groups = {ANY: objects}
    for index in objects:
        groups.setdefault(things[index].shape, []).append(index)
    for noun, members in groups.items():
        if len(members) >= 2:
            yield noun, members


def _attribute(things: Sequence[Thing]) -> Iterator[Reference]:
    objects = _objects(things)
    for key in ("colour", "shape"):
        counts = Counter(getattr(things[index], key) for index in objects)
        for index in objects:
            value = getattr(things[index], key)
            if counts[value] == 1:
                yield Reference(
                    suite="attribute",
                    form=key,
                    answers=(index,),
                    candidates=tuple(objects),  # "the red one", "the cube": no more is said
                    words={key: value},
                )


#: How far a thing lies beyond an anchor in each relation [m]: positive where it holds.
_SIDES: dict[str, Callable[[Thing, Thing], float]] = {
    "left_of": lambda thing, anchor: thing.xy[1] - anchor.xy[1],
    "right_of": lambda thing, anchor: anchor.xy[1] - thing.xy[1],
    "behind": lambda thing, anchor: thing.xy[0] - anchor.xy[0],
    "in_front_of": lambda thing, anchor: anchor.xy[0] - thing.xy[0],
}
#: What the meant thing has most of, among those that the noun allows [m].
_MOST: dict[str, Callable[[Thing], float]] = {
    "leftmost": lambda thing: thing.xy[1],
    "rightmost": lambda thing: -thing.xy[1],
    "nearest": lambda thing: -float(np.hypot(*thing.xy)),
    "farthest": lambda thing: float(np.hypot(*thing.xy)),
}


def _spatial(things: Sequence[Thing]) -> Iterator[Reference]:
    for noun, members in _nouns(things):
        for form, measure in _MOST.items():
            values = [measure(things[index]) for index in members]
            yield from _extreme("spatial", form, noun, members, values)
    for anchor, about in enumerate(things):
        for noun, members in _nouns(things, but=anchor):
            for form, beyond in _SIDES.items():
                margins = np.array([beyond(things[index], about) for index in members])
                holds = margins >= HOLDS_M
                if holds.sum() == 1 and (margins[~holds] <= FAILS_M).all():
                    yield _spatial_reference(form, noun, members, int(holds.argmax()), anchor)
            near = [-_distance(things[index], about) for index in members]
            yield from _extreme("spatial", "nearest_to", noun, members, near, anchor)
            far = [-value for value in near]
            yield from _extreme("spatial", "farthest_from", noun, members, far, anchor)


def _spatial_reference(
    form: str, noun: str, members: list[int], chosen: int, anchor: int
) -> Reference:
    return Reference(
        suite="spatial",
        form=form,
        answers=(members[chosen],),
        candidates=tuple(members),
        words={"noun": noun},
        anchor=anchor,
    )


def _extreme(
    suite: str,
    form: str,
    noun: str,
    members: list[int],
    values: Sequence[float],
    anchor: int | None = None,
    margin: float = NEARER_M,
) -> Iterator[Reference]:
    """Yield the member with the greatest value, if it is greater by the margin."""
    order = np.argsort(values)
    if values[order[-1]] - values[order[-2]] >= margin:
        yield Reference(
            suite=suite,
            form=form,
            answers=(members[order[-1]],),
            candidates=tuple(members),
            words={"noun": noun},
            anchor=anchor,
        )


def _comparison(things: Sequence[Thing]) -> Iterator[Reference]:
    for noun, members in _nouns(things):
        halves = [things[index].half for index in members]
        yield from _extreme("comparison", "larger", noun, members, halves, margin=LARGER_M)
        smallness = [-half for half in halves]
        yield from _extreme("comparison", "smaller", noun, members, smallness, margin=LARGER_M)


def _counting(things: Sequence[Thing]) -> Iterator[Reference]:
    objects = _objects(things)
    everything = tuple(objects)
    shapes = Counter(things[index].shape for index in objects)
    colours = Counter(things[index].colour for index in objects)
    twice = [shape for shape, count in shapes.items() if count == 2]
    if len(twice) == 1:
        pair = tuple(index for index in objects if things[index].shape == twice[0])
        if max(colours.values()) == 1:  # else two of what
            yield Reference(
                suite="counting", form="one_of_two", answers=pair, candidates=everything
            )
        for index in pair:
            colour = things[index].colour
            assert colour is not None
            if colours[colour] >= 2:  # else the colour alone would tell
                yield Reference(
                    suite="counting",
                    form="shape_twice",
                    answers=(index,),
                    candidates=tuple(i for i in objects if things[i].colour == colour),
                    words={"colour": colour},
                )
    for form, key, counts in (
        ("shape_once", "shape", shapes),
        ("colour_once", "colour", colours),
    ):
        single = [index for index in objects if counts[getattr(things[index], key)] == 1]
        if len(single) == 1 and len(objects) >= 3:
            yield Reference(
                suite="counting", form=form, answers=(single[0],), candidates=everything
            )


def _negation(things: Sequence[Thing]) -> Iterator[Reference]:
    objects = _objects(things)
    for form, kept, denied in (
        ("shape_not_colour", "shape", "colour"),
        ("colour_not_shape", "colour", "shape"),
    ):
        for value in sorted({getattr(things[index], kept) for index in objects}):
            members = [index for index in objects if getattr(things[index], kept) == value]
            yield from _all_but_one(things, form, members, denied, {kept: value})
    for form, denied in (("not_colour", "colour"), ("not_shape", "shape")):
        if len(objects) >= 3:
            yield from _all_but_one(things, form, objects, denied, {})
    for noun, members in _nouns(things):
        names = [things[index].colour for index in members]
        if len(members) == 3 and len(set(names)) == 3:
            for place, index in enumerate(members):
                first, second = (name for at, name in enumerate(names) if at != place)
                words = {"noun": noun, "colour": str(first), "other": str(second)}
                yield Reference(
                    suite="negation",
                    form="neither",
                    answers=(index,),
                    candidates=tuple(members),
                    words=words,
                )


def _all_but_one(
    things: Sequence[Thing], form: str, members: list[int], denied: str, words: dict[str, str]
) -> Iterator[Reference]:
    """Yield each value that all members have but one."""
    values = [getattr(things[index], denied) for index in members]
    if len(members) < 2:
        return
    for value in sorted(set(values)):
        left = [index for index, own in zip(members, values, strict=True) if own != value]
        if len(left) == 1:
            yield Reference(
                suite="negation",
                form=form,
                answers=(left[0],),
                candidates=tuple(members),
                words={**words, denied: value},
            )


def _distance(one: Thing, other: Thing) -> float:
    return float(np.hypot(one.xy[0] - other.xy[0], one.xy[1] - other.xy[1]))


_FINDERS: dict[str, Finder] = {
    "attribute": _attribute,
    "spatial": _spatial,
    "comparison": _comparison,
    "counting": _counting,
    "negation": _negation,
}
#: The suites whose instructions name one thing by reasoning about all.
REFERENCE_SUITES = tuple(_FINDERS)
#: Every form of a reference.
FORMS = (
    *("colour", "shape"),
    *(*_SIDES, "nearest_to", "farthest_from", *_MOST),
    *("larger", "smaller"),
    *("one_of_two", "shape_twice", "shape_once", "colour_once"),
    *("shape_not_colour", "colour_not_shape", "not_colour", "not_shape", "neither"),
)
