"""The words by which the planner knows what an instruction is about."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path
from vla_ros.planner.phrase_table import PhraseTable
from vla_ros.planner.reference import ReferenceFinder, ReferenceWords

#: Nouns that are everyday words too; they count only after an article or a colour.
EVERYDAY = frozenset({"can", "one"})

_PHRASES = (
    "negations",
    "affirmed_negations",
    "affirmations",
    "contrasts",
    "idle_orders",
    "reasons",
    "wishes",
    "questions",
)
_REFERENCES = (
    "things",
    "qualities",
    "exclusives",
    "traits",
    "relations",
    "alone",
    "names",
    "links",
    "relatives",
    "followers",
    "selves",
    "determiners",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What of the vocabulary a text mentions, by canonical names.

    Attributes:
        colours: For example "red".
        shapes: For example "cube".
        containers: For example "bowl".
        verbs: Skills that the verbs stand for.
        foreign_colours: Colours nothing has.
        described: Whether it singles a thing out in another way: "the thing left of the bowl".
        ranked: Whether it may do so without a noun: "the smallest".
    """

    colours: frozenset[str]
    shapes: frozenset[str]
    containers: frozenset[str]
    verbs: frozenset[str]
    foreign_colours: frozenset[str]
    described: bool
    ranked: bool

    @property
    def mentions_object(self) -> bool:
        """Whether some object is meant."""
        return bool(self.colours or self.shapes or self.described or self.ranked)

    @property
    def names_object(self) -> bool:
        """Whether an object is meant so clearly that an order is likely without a known verb."""
        return bool(self.shapes and (self.colours or self.containers)) or self.described


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Phrases -> canonical names.

    Attributes:
        colours: For example "crimson" -> "red".
        shapes: For example "block" -> "cube".
        containers: For example "basin" -> "bowl".
        verbs: For example "lift" -> "lift"; a verb of several skills stands for the first.
        ordinary: Words that look like a misspelt verb and are none.
        foreign_colours: Colours nothing has.
        directions: Phrases for directions.
        negations: What says not to do something; `*` stands for any words.
        affirmed_negations: Words that turn a negation into an order, as in "don't forget to".
        affirmations: Phrases with a negation in them that negate nothing, as in "why don't you".
        contrasts: Words that end what a negation reaches to.
        idle_orders: Phrases with a verb in them that order nothing, as in "hold on".
        reasons: Beginnings of the reason for a negation.
        wishes: Words that make an order of an object without a verb, as in "the cube must go up".
        questions: Beginnings of a request for words.
        references: Finds what singles a thing out in other ways than by colour and shape.
        verbless: Words of a part whose verb went without saying, beside those for things.
        conditions: Beginnings of a part that says when.
        places: What may stand where the object of a verb would.
    """

    colours: PhraseTable
    shapes: PhraseTable
    containers: PhraseTable
    verbs: PhraseTable
    ordinary: frozenset[str]
    foreign_colours: frozenset[str]
    directions: tuple[str, ...]
    negations: tuple[str, ...]
    affirmed_negations: tuple[str, ...]
    affirmations: tuple[str, ...]
    contrasts: tuple[str, ...]
    idle_orders: tuple[str, ...]
    reasons: tuple[str, ...]
    wishes: tuple[str, ...]
    questions: tuple[str, ...]
    references: ReferenceFinder
    verbless: frozenset[str]
    conditions: frozenset[str]
    places: frozenset[str]

    @classmethod
    def load(cls, directory: Path | None = None) -> Vocabulary:
        """Read `nouns.yaml` and `vocabulary.yaml`; the shipped ones without a directory.

        Raises:
            UserError: if a file or a key is missing; names it.
        """
        folder = directory or resource_path("config/instructions")
        kinds = ("colours", "shapes", "containers", "directions")
        nouns = _read(folder / "nouns.yaml", kinds)
        path = folder / "vocabulary.yaml"
        keys = ("verbs", "ordinary", "foreign_colours", "references", "steps", *_PHRASES)
        words = _read(path, keys)
        colours, shapes, containers = (PhraseTable(_phrases(nouns[kind])) for kind in kinds[:3])
        references = ReferenceWords(
            **{key: tuple(words["references"][key]) for key in _REFERENCES},
            colours=tuple(colours),
            shapes=tuple(shapes),
            containers=tuple(containers),
            guarded=EVERYDAY,
        )
        verbs: dict[str, str] = {}
        for skill, names in words["verbs"].items():
            for name in names:
                verbs.setdefault(name, skill)
        return cls(
            colours=colours,
            shapes=shapes,
            containers=containers,
            verbs=PhraseTable(verbs),
            ordinary=frozenset(words["ordinary"]),
            foreign_colours=frozenset(words["foreign_colours"]),
            directions=tuple(_phrases(nouns["directions"])),
            references=ReferenceFinder(references),
            verbless=frozenset(words["steps"]["verbless"]),
            conditions=frozenset(words["steps"]["conditions"]),
            places=frozenset(words["steps"]["places"]),
            **{key: tuple(words[key]) for key in _PHRASES},
        )

    def find(self, words: list[str]) -> Evidence:
        """Return what the lower-case `words` of an instruction mention."""
        text = f" {' '.join(words)} "
        nouns = [word for word in words if word not in self.verbs]  # "place" is no misspelt plate
        shapes = {
            phrase: name
            for phrase, name in self.shapes.mentions(text, nouns)
            if phrase not in EVERYDAY or self._is_noun(text, phrase)
        }
        actions = [word for word in words if word not in self.ordinary]
        verbs = self.verbs.found(text, actions) | _stems(actions, self.verbs)
        return Evidence(
            colours=self.colours.found(text, nouns),
            shapes=frozenset(shapes.values()),
            containers=self.containers.found(text, nouns),
            verbs=verbs,
            foreign_colours=self._foreign(words),
            described=self.references.singles_out(words),
            ranked=self.references.hints(words),
        )

    def is_question(self, words: list[str]) -> bool:
        """Return whether an instruction of these words asks for words."""
        return f"{' '.join(words)} ".startswith(tuple(f"{start} " for start in self.questions))

    def _foreign(self, words: list[str]) -> frozenset[str]:
        """Return the colours that nothing has; a container may have any."""
        return frozenset(
            word
            for word, noun in itertools.pairwise([*words, ""])
            if word in self.foreign_colours and noun not in self.containers
        )

    def _is_noun(self, text: str, word: str) -> bool:
        before = "|".join(("the", "a", "an", "this", "that", "colored", "coloured", *self.colours))
        return re.search(rf" (?:{before}) {word}s? ", text) is not None


def _read(path: Path, keys: Iterable[str]) -> dict[str, Any]:
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    for key in keys:
        if not isinstance(table, dict) or key not in table:
            raise UserError(f"{path}: expected the key {key!r}, which is missing")
    return dict(table)


def _phrases(table: dict[str, dict[str, list[str]]]) -> dict[str, str]:
    return {
        phrase: name for name, words in table.items() for phrase in words["common"] + words["rare"]
    }


def _stems(words: list[str], verbs: Mapping[str, str]) -> frozenset[str]:
    """Return the skills of inflected verbs: lifts, lifted, lifting, placing, stacked."""
    found = set()
    for word in words:
        for ending in ("ing", "ed", "s", "es", "d"):
            stem = word.removesuffix(ending)
            if stem != word:
                doubled = stem[:-1] if stem[-2:-1] == stem[-1:] else stem
                found |= {verbs[v] for v in (stem, f"{stem}e", doubled) if v in verbs}
    return frozenset(found)
