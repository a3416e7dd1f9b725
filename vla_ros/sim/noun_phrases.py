"""Noun phrases, directions and the small imperfections of typed text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from numpy.random import Generator

T = TypeVar("T")

#: Rate at which a rare word replaces a common one.
RARE_COLOUR, RARE_SHAPE, RARE_CONTAINER, RARE_DIRECTION = 0.08, 0.15, 0.12, 0.35
#: Rate at which the first common word (cube, cylinder, ball) is taken from the common ones.
CANONICAL_SHAPE = 0.6
TYPO = 0.03

#: Shapes of a noun phrase with `C` for the colour and `N` for the noun, and their weights.
FORMS: tuple[tuple[float, str], ...] = (
    (60.0, "the C N"),
    (7.0, "C N"),
    (4.0, "a C N"),
    (4.0, "that C N"),
    (2.0, "this C N"),
    (2.0, "the C-coloured N"),
    (2.0, "the C colored N"),
    (3.0, "the N that is C"),
    (2.0, "the N which is C"),
    (1.5, "the one that is C, the N"),
    (1.5, "the N, the C one"),
    (1.0, "the N (C)"),
    (1.5, "the N in C"),
    (1.5, "the C one, the N"),
    (1.0, "the C thing shaped like a N"),
    (1.0, "our C N"),
    (1.5, "the C N over there"),
    (1.5, "the C N on the table"),
    (1.0, "the C N you see"),
    (1.0, "the one C N"),
    (1.0, "the N with the C colour"),
)


def choose(rng: Generator, items: Sequence[T]) -> T:
    """Return one of `items`, each as likely as the others."""
    return items[int(rng.integers(len(items)))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Words of one meaning: `common[0]` is the canonical one."""

    common: tuple[str, ...]
    rare: tuple[str, ...]

    def draw(self, rng: Generator, rare: float) -> str:
        """Return a common word, or a rare one at the rate `rare`."""
        return choose(rng, self.rare if self.rare and rng.random() < rare else self.common)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nouns:
    """Words for colours, shapes, containers and directions, by canonical name."""

    colours: dict[str, Words]
    shapes: dict[str, Words]
    containers: dict[str, Words]
    directions: dict[str, Words]

    def object_phrase(self, rng: Generator, pair: tuple[str, str]) -> str:
        """Return a noun phrase for (colour, shape), most often with an article."""
        colour = self.colours[pair[0]].draw(rng, RARE_COLOUR)
        noun = pair[1]
        if rng.random() > CANONICAL_SHAPE:
            noun = self.shapes[pair[1]].draw(rng, RARE_SHAPE / (1 - CANONICAL_SHAPE))
        form = _weighted_form(rng)
        return re.sub(r"\b[CN]\b", lambda m: colour if m.group() == "C" else noun, form)

    def fill_container(self, rng: Generator, text: str, container: str, bare: bool) -> str:
        """Replace `{target}` with a word for the container."""
        word = self.containers[container].draw(rng, RARE_CONTAINER)
        article = choose(rng, ("the", "the", "the", "the", "the", "the", "that", "a"))
        return fill_slot(text, "{target}", f"{article} {word}", bare)

    def direction(self, rng: Generator, name: str) -> str:
        """Return an adverb for a direction."""
        return self.directions[name].draw(rng, RARE_DIRECTION)


def fix_articles(text: str) -> str:
    """Return `text` with "a" turned into "an" before a vowel."""
    return re.sub(r"\b([aA]) (?=[aeioAEIO])", r"\1n ", text)


def add_surface_noise(rng: Generator, text: str) -> str:
    """Return `text` as a person may type it: case, full stop, now and then a typo."""
    text = re.sub(r"\s+", " ", text).strip()
    if rng.random() < TYPO:
        text = _typo(rng, text)
    case = rng.random()
    if case < 0.3:
        text = text[0].upper() + text[1:]
    elif case < 0.34:
        text = text.upper()
    elif case < 0.45:
        text = text.lower()
    if text[-1].isalnum() and rng.random() < 0.3:
        text += "!" if rng.random() < 0.15 else "."
    return text


def _weighted_form(rng: Generator) -> str:
    total = sum(weight for weight, _ in FORMS)
    draw = rng.random() * total
    for weight, form in FORMS:
        draw -= weight
        if draw <= 0:
            return form
    return FORMS[0][1]


def fill_slot(text: str, slot: str, phrase: str, bare: bool) -> str:
    """Put `phrase` for "the SLOT"; a slot without article, or a bare speaker, gets none."""
    naked = re.sub(r"^(the|a|that|this|our) ", "", phrase)
    if not bare:
        text = text.replace(f"the {slot}", phrase)
    text = text.replace(f"the {slot}", naked)
    return text.replace(slot, naked)


def _typo(rng: Generator, text: str) -> str:
    """Swap, drop or double one letter of one word of at least four letters."""
    words = list(re.finditer(r"[A-Za-z]{4,}", text))
    if not words:
        return text
    word = choose(rng, words)
    at = word.start() + 1 + int(rng.integers(len(word.group()) - 2))
    kind = int(rng.integers(3))
    if kind == 0:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if kind == 1:
        return text[:at] + text[at + 1 :]
    return text[: at + 1] + text[at] + text[at + 1 :]
