"""Sentences for a task: a grammar for training, plain templates for held-out and user phrasings.

Two kinds of files, both YAML, both in `config/instructions`: a *phrasing file* maps each skill to
plain templates (`docs/reference/instructions.md`), and the *grammar* `train.yaml` adds choices and
wrappers, which make hundreds of thousands of sentences of a few hundred frames.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from numpy.random import Generator

from vla_ros.sim.instruction_files import (
    GRAMMAR_FILE,
    HELD_OUT_FILE,
    Frame,
    Grammar,
    instruction_directory,
    load_grammar,
    load_nouns,
    load_phrasings,
)
from vla_ros.sim.noun_phrases import (
    Nouns,
    add_surface_noise,
    choose,
    fill_slot,
    fix_articles,
)

SPLITS = ("train", "phrasing")

#: A colour and a shape, such as ("red", "cube").
NounPhrase = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """A sentence and what it means; the meaning is for training and scoring, never for the policy.

    Attributes:
        text: What the policy gets.
        template: The template the sentence was made from.
        skill: One of reach, push, lift, place, stack.
        colour: Of the named object.
        shape: Of the named object: cube, cylinder or ball.
        target_colour: Of the object to stack on, else None.
        target_shape: Of the object to stack on, else None.
        container: bowl or plate for `place`, else None.
        direction: left, right, forward or backward for `push`, else None.
        phrase: Noun phrase, beginning with "the", that names the object in place of its colour
            and shape, as in "the cube left of the bowl".
    """

    text: str
    template: str
    skill: str
    colour: str
    shape: str
    target_colour: str | None = None
    target_shape: str | None = None
    container: str | None = None
    direction: str | None = None
    phrase: str | None = None


class Phrasing(Protocol):
    """Makes the sentence for a task whose meaning is given."""

    def compose(
        self, rng: Generator, meaning: Instruction, *, clause: bool = False
    ) -> tuple[str, str]:
        """Return a sentence for `meaning` and the template it was made from.

        With `clause` it is an order without anything around it.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainPhrasing:
    """Templates of a phrasing file; slots get canonical words without an article."""

    templates: dict[str, tuple[str, ...]]
    source: str

    def compose(
        self, rng: Generator, meaning: Instruction, *, clause: bool = False
    ) -> tuple[str, str]:
        """Draw one template of the skill and fill it in."""
        if meaning.skill not in self.templates:
            raise ValueError(
                f"{self.source}: has no templates for skill {meaning.skill!r}, "
                f"only for {', '.join(self.templates)}"
            )
        template = choose(rng, self.templates[meaning.skill])
        named = f"{meaning.colour} {meaning.shape}"
        if meaning.phrase:
            named = meaning.phrase.removeprefix("the ")
        text = template.replace("{object}", named)
        text = text.replace("{direction}", meaning.direction or "")
        return fix_articles(text.replace("{target}", _plain_target(meaning))), template


@dataclass(frozen=True, slots=True, kw_only=True)
class GrammarPhrasing:
    """The training grammar: frames, politeness, noun phrases, directions, surface noise."""

    grammar: Grammar
    nouns: Nouns

    #: Shares of the sentences; the rest of the commands stay bare.
    WRAPPED = 0.6
    WRAPPED_SENTENCE = 0.2
    SENTENCES = 0.25
    ASIDES = 0.15
    WRONG_PREPOSITION = 0.08

    def compose(
        self, rng: Generator, meaning: Instruction, *, clause: bool = False
    ) -> tuple[str, str]:
        """Draw a frame, wrap it, and fill in varied noun phrases."""
        frames = self.grammar.skills[meaning.skill]
        if clause:
            template = choose(rng, frames.commands).draw(rng)
            return fix_articles(self._fill(rng, template, meaning)), template
        if rng.random() < self.SENTENCES:
            pool, wrappers, slot, share = (
                frames.sentences,
                self.grammar.sentence_wrappers,
                "{sentence}",
                self.WRAPPED_SENTENCE,
            )
        else:
            pool, wrappers, slot, share = (
                frames.commands,
                self.grammar.wrappers,
                "{command}",
                self.WRAPPED,
            )
        template = choose(rng, pool).draw(rng)
        if (
            meaning.phrase is None and rng.random() < self.ASIDES
        ):  # or a wrapper: both together get too long to be read
            template = choose(rng, frames.asides).draw(rng).replace("{clause}", template)
        elif rng.random() < share:
            template = choose(rng, wrappers).draw(rng).replace(slot, template)
        text = self._fill(rng, template, meaning)
        return add_surface_noise(rng, fix_articles(text)), template

    def _fill(self, rng: Generator, template: str, meaning: Instruction) -> str:
        nouns = self.nouns
        bare = rng.random() < 0.08  # a terse speaker drops every article
        phrase = meaning.phrase or nouns.object_phrase(rng, (meaning.colour, meaning.shape))
        text = fill_slot(template, "{object}", phrase, bare)
        if meaning.target_colour and meaning.target_shape:
            pair = (meaning.target_colour, meaning.target_shape)
            text = fill_slot(text, "{target}", nouns.object_phrase(rng, pair), bare)
        if meaning.container:
            text = nouns.fill_container(rng, text, meaning.container, bare)
            held = meaning.container == "bowl"
            if rng.random() < self.WRONG_PREPOSITION:
                held = not held
            text = text.replace("{into}", choose(rng, INTO if held else ONTO))
        if meaning.direction:
            text = text.replace("{side}", meaning.direction)
            text = text.replace("{direction}", nouns.direction(rng, meaning.direction))
        return text


INTO = ("in", "into", "inside", "in", "into")
ONTO = ("on", "onto", "on top of", "on", "onto")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhrasingBook:
    """Where the sentences of an episode come from."""

    name: str
    phrasing: Phrasing

    @staticmethod
    def for_split(split: str) -> PhrasingBook:
        """Return the shipped book: `train` (the grammar) or `phrasing` (held out)."""
        if split not in SPLITS:
            raise ValueError(
                f"split {split!r} has no phrasings; choose one of {', '.join(SPLITS)}"
            )
        return _shipped(split)

    @staticmethod
    def from_phrasings(path: str | Path) -> PhrasingBook:
        """Return the book of a user's phrasing file.

        Raises:
            PhrasingError: if the file is not one; names the file, the skill and the template.
        """
        return PhrasingBook(
            name=str(path),
            phrasing=PlainPhrasing(templates=load_phrasings(Path(path)), source=str(path)),
        )

    def sample(
        self,
        rng: Generator,
        skill: str,
        named: NounPhrase,
        *,
        target: str | NounPhrase | None = None,
        direction: str | None = None,
        phrase: str | None = None,
        clause: bool = False,
    ) -> Instruction:
        """Draw a sentence.

        Args:
            rng: Source of every choice; equal states give equal sentences.
            skill: One of the five skills.
            named: Colour and shape of the object the sentence names.
            target: A container's name for `place`, colour and shape for `stack`, else None.
            direction: left, right, forward or backward for `push`, else None.
            phrase: Noun phrase that names the object instead of its colour and shape.
            clause: Whether to give the bare order, for a sentence that it is a part of.

        Raises:
            ValueError: if the arguments do not fit the skill.
        """
        meaning = replace(_meaning(skill, named, target, direction), phrase=phrase)
        text, template = self.phrasing.compose(rng, meaning, clause=clause)
        return replace(meaning, text=text, template=template)


def sample_instruction(
    rng: Generator,
    skill: str,
    named: NounPhrase,
    target: str | NounPhrase | None = None,
    direction: str | None = None,
    split: str = "train",
) -> Instruction:
    """Draw a sentence of a shipped split; see `PhrasingBook.sample`."""
    return PhrasingBook.for_split(split).sample(
        rng, skill, named, target=target, direction=direction
    )


def training_frames(skill: str) -> Iterator[Frame]:
    """Yield every training frame of `skill` that says what to do, commands first."""
    frames = load_grammar(instruction_directory() / GRAMMAR_FILE).skills[skill]
    yield from frames.commands
    yield from frames.sentences


@functools.cache
def _shipped(split: str) -> PhrasingBook:
    directory = instruction_directory()
    if split == "phrasing":
        return PhrasingBook.from_phrasings(directory / HELD_OUT_FILE)
    grammar = load_grammar(directory / GRAMMAR_FILE)
    nouns = load_nouns(directory / "nouns.yaml")
    return PhrasingBook(name=split, phrasing=GrammarPhrasing(grammar=grammar, nouns=nouns))


def _plain_target(meaning: Instruction) -> str:
    if meaning.container:
        return meaning.container
    return f"{meaning.target_colour} {meaning.target_shape}"


def _meaning(
    skill: str, named: NounPhrase, target: str | NounPhrase | None, direction: str | None
) -> Instruction:
    fits = {
        "reach": target is None and direction is None,
        "lift": target is None and direction is None,
        "push": target is None and direction is not None,
        "place": isinstance(target, str) and direction is None,
        "stack": isinstance(target, tuple) and direction is None,
    }
    if not fits.get(skill, False):
        raise ValueError(
            f"skill {skill!r} does not go with target {target!r} and direction {direction!r}"
        )
    pair = target if isinstance(target, tuple) else (None, None)
    return Instruction(
        text="",
        template="",
        skill=skill,
        colour=named[0],
        shape=named[1],
        target_colour=pair[0],
        target_shape=pair[1],
        container=target if isinstance(target, str) else None,
        direction=direction,
    )
