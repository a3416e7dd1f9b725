"""Puts a reference into words: "the cube left of the red ball"."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import yaml
from numpy.random import Generator

from vla_ros.sim.instruction_files import Frame, instruction_directory, load_nouns
from vla_ros.sim.noun_phrases import RARE_COLOUR, RARE_CONTAINER, Nouns, choose
from vla_ros.sim.references import ANY, Reference, Thing

REASONING_FILE = "reasoning.yaml"
#: Words for anything; the first is the canonical one.
ANYTHING = ("object", "thing", "item", "piece")
#: Which of a form's phrases a split reads.
PHRASES_OF = {"phrasing": "held_out"}

#: suite -> form -> train | held_out -> frames.
Frames = Mapping[str, Mapping[str, Mapping[str, tuple[Frame, ...]]]]


def phrase_of(
    rng: Generator, reference: Reference, things: Sequence[Thing], split: str = "train"
) -> str:
    """Return a noun phrase that begins with "the".

    Args:
        rng: Source of every choice.
        reference: What to say.
        things: What it was found among.
        split: `phrasing` draws held-out phrases and canonical words; any other one draws what
            training reads.
    """
    which = PHRASES_OF.get(split, "train")
    plain = which == "held_out"
    words = {}
    for slot, value in reference.words.items():
        words[slot] = value if plain else _vary(rng, slot, value)
    if "noun" in words:
        words["plural"] = _plural(words["noun"])
    if reference.anchor is not None:
        words["anchor"] = _name(rng, things[reference.anchor], plain)
    frame = choose(rng, _frames()[reference.suite][reference.form][which])
    return frame.draw(rng).format(**words)


def _vary(rng: Generator, slot: str, value: str) -> str:
    nouns = _nouns()
    if slot in ("colour", "other"):
        return nouns.colours[value].draw(rng, 0.5 * RARE_COLOUR)
    if value == ANY:
        return choose(rng, ANYTHING[:3])
    return value if rng.random() < 0.7 else nouns.shapes[value].draw(rng, 0.1)


def _name(rng: Generator, thing: Thing, plain: bool) -> str:
    """Return the name of an anchor, with its article."""
    nouns = _nouns()
    if thing.colour is None:
        return f"the {thing.shape if plain else _container(rng, nouns, thing.shape)}"
    if plain or rng.random() < 0.5:
        return f"the {thing.colour} {thing.shape}"
    colour = nouns.colours[thing.colour].draw(rng, 0.5 * RARE_COLOUR)
    return f"the {colour} {nouns.shapes[thing.shape].draw(rng, 0.1)}"


def _container(rng: Generator, nouns: Nouns, name: str) -> str:
    return nouns.containers[name].draw(rng, RARE_CONTAINER)


def _plural(noun: str) -> str:
    return f"{noun}es" if noun.endswith(("s", "x")) else f"{noun}s"


@functools.cache
def _nouns() -> Nouns:
    return load_nouns(instruction_directory() / "nouns.yaml")


@functools.cache
def _frames() -> Frames:
    text = (instruction_directory() / REASONING_FILE).read_text(encoding="utf-8")
    return {
        suite: {
            form: {
                split: tuple(Frame.parse(phrase) for phrase in phrases)
                for split, phrases in splits.items()
            }
            for form, splits in forms.items()
        }
        for suite, forms in yaml.safe_load(text).items()
    }
