"""The words by which the planner knows what an instruction is about."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path

#: Words of at least this many letters are also found with one typing error, shorter
#: ones only with two letters swapped or one doubled: too many of them differ by one letter.
SHORTEST_FUZZY = 5
#: Nouns that are everyday words too; they count only after an article or a colour.
EVERYDAY = frozenset({"can"})

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
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What of the vocabulary a text mentions, by canonical names."""

    colours: frozenset[str]
    shapes: frozenset[str]
    containers: frozenset[str]
    verbs: frozenset[str]
    foreign_colours: frozenset[str]


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
    """

    colours: dict[str, str]
    shapes: dict[str, str]
    containers: dict[str, str]
    verbs: dict[str, str]
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

    @classmethod
    def load(cls, directory: Path | None = None) -> Vocabulary:
        """Read `nouns.yaml` and `vocabulary.yaml`; the shipped ones without a directory.

        Raises:
            UserError: if a file or a key is missing; names it.
        """
        folder = directory or resource_path("config/instructions")
        kinds = ("colours", "shapes", "containers", "directions")
        nouns = _read(folder / "nouns.yaml", kinds)
        words = _read(
            folder / "vocabulary.yaml", ("verbs", "ordinary", "foreign_colours", *_PHRASES)
        )
        verbs: dict[str, str] = {}
        for skill, names in words["verbs"].items():
            for name in names:
                verbs.setdefault(name, skill)
        return cls(
            colours=_phrases(nouns["colours"]),
            shapes=_phrases(nouns["shapes"]),
            containers=_phrases(nouns["containers"]),
            verbs=verbs,
            ordinary=frozenset(words["ordinary"]),
            foreign_colours=frozenset(words["foreign_colours"]),
            directions=tuple(_phrases(nouns["directions"])),
            **{key: tuple(words[key]) for key in _PHRASES},
        )

    def find(self, words: list[str]) -> Evidence:
        """Return what the lower-case `words` of an instruction mention."""
        text = f" {' '.join(words)} "
        colours = _found(text, words, self.colours)
        shapes = {
            phrase: name
            for phrase, name in _mentions(text, words, self.shapes)
            if phrase not in EVERYDAY or self._is_noun(text, phrase)
        }
        actions = [word for word in words if word not in self.ordinary]
        verbs = _found(text, actions, self.verbs) | _stems(actions, self.verbs)
        return Evidence(
            colours=colours,
            shapes=frozenset(shapes.values()),
            containers=_found(text, words, self.containers),
            verbs=verbs,
            foreign_colours=frozenset(words) & self.foreign_colours,
        )

    def is_question(self, words: list[str]) -> bool:
        """Return whether an instruction of these words asks for words."""
        return f"{' '.join(words)} ".startswith(tuple(f"{start} " for start in self.questions))

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


def _mentions(text: str, words: list[str], phrases: dict[str, str]) -> list[tuple[str, str]]:
    """Return (phrase, canonical name) of the phrases in `text`, plurals and typing errors too."""
    found = [(p, name) for p, name in phrases.items() if f" {p} " in text or f" {p}s " in text]
    long = {phrase for phrase in phrases if len(phrase) >= SHORTEST_FUZZY and " " not in phrase}
    for word in words:
        if len(word) >= SHORTEST_FUZZY - 1 and word not in phrases:
            meant = (long & _one_error_away(word)) | (
                phrases.keys() & (_swapped(word) | _undoubled(word))
            )
            found += [(phrase, phrases[phrase]) for phrase in meant]
    return found


def _found(text: str, words: list[str], phrases: dict[str, str]) -> frozenset[str]:
    return frozenset(name for _, name in _mentions(text, words, phrases))


def _stems(words: list[str], verbs: dict[str, str]) -> frozenset[str]:
    """Return the skills of inflected verbs: lifts, lifted, lifting, placing, stacked."""
    found = set()
    for word in words:
        for ending in ("ing", "ed", "s", "es", "d"):
            stem = word.removesuffix(ending)
            if stem != word:
                doubled = stem[:-1] if stem[-2:-1] == stem[-1:] else stem
                found |= {verbs[v] for v in (stem, f"{stem}e", doubled) if v in verbs}
    return frozenset(found)


def _one_error_away(word: str) -> set[str]:
    """Return every string one missing, added or wrong letter away from `word`, or one swap."""
    cuts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    errors = {a + b[1:] for a, b in cuts if b}
    errors |= {a + letter + b[1:] for a, b in cuts if b for letter in _LETTERS}
    errors |= {a + letter + b for a, b in cuts for letter in _LETTERS}
    return errors | _swapped(word)


def _undoubled(word: str) -> set[str]:
    """Return `word` with one letter less wherever two equal ones stand side by side."""
    return {word[:i] + word[i + 1 :] for i in range(len(word) - 1) if word[i] == word[i + 1]}


def _swapped(word: str) -> set[str]:
    """Return `word` with two neighbouring letters swapped, in every way."""
    return {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)}
