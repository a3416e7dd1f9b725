"""Finds the ways to single a thing out that take more, or less, than its colour and its shape."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import astuple, dataclass

from vla_ros.planner.spelling import Spelling

#: Words from this many letters on are found with any typing error; "might" is no "right".
_SHORTEST_FUZZY = 6
#: Before one of these "one" is a noun.
_BEHIND_ONE = ("that", "which", "whose", "with", "of", "in")
_WORD = r"[a-z']+"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceWords:
    """Phrases of the section `references` of `vocabulary.yaml`, and the nouns around them.

    Attributes:
        things: Nouns for anything.
        qualities: What stands before a noun or behind "that is".
        exclusives: What stands before the name of a shape.
        traits: What stands behind a noun and says which one is meant.
        relations: What stands between two things.
        alone: What needs no noun, but a verb.
        names: What needs neither.
        links: What may stand between a noun and what is said of it.
        relatives: Those that join a noun for anything with a colour or a shape.
        followers: What may follow something that has no noun.
        selves: What counts as a thing where one is needed.
        determiners: What makes a noun of the word behind it.
        colours: Words for colours.
        shapes: Words for shapes.
        containers: Words for containers.
        guarded: Nouns that are something else without a determiner before them.
    """

    things: tuple[str, ...]
    qualities: tuple[str, ...]
    exclusives: tuple[str, ...]
    traits: tuple[str, ...]
    relations: tuple[str, ...]
    alone: tuple[str, ...]
    names: tuple[str, ...]
    links: tuple[str, ...]
    relatives: tuple[str, ...]
    followers: tuple[str, ...]
    selves: tuple[str, ...]
    determiners: tuple[str, ...]
    colours: tuple[str, ...]
    shapes: tuple[str, ...]
    containers: tuple[str, ...]
    guarded: frozenset[str]


class ReferenceFinder:
    """Says whether words single a thing out, as "the larger cube" or "the one behind the ball" do.

    It goes by the order of the words, since the same words mean nothing in another one: "the
    object left of the bowl" is a thing, "the object in the bowl, left" is none.
    """

    def __init__(self, words: ReferenceWords) -> None:
        """Put the patterns together."""
        shape, colour, quality = _of(words.shapes), _of(words.colours), _of(words.qualities)
        shapes, things = _nouns(words.shapes), _nouns(words.things)
        plain = [n for n in (*words.shapes, *words.things) if n not in words.guarded]
        before = f"(?:{_of(words.determiners)}|{colour}|{quality})"
        one = f"one(?= {_of(_BEHIND_ONE)} )"
        noun = f"(?:{_nouns(plain)}|{before} {_nouns(words.guarded)}|{one})"
        unnamed = [n for n in words.things if n not in words.guarded]
        guarded = _nouns(words.guarded & {*words.things})
        anything = f"(?:{_nouns(unnamed)}|{before} {guarded}|{one})"
        anchor = f"(?:{noun}|{colour}|{_nouns(words.containers)}|{_of(words.selves)})"
        of = "of (?:the|these|those|all|both)"
        between = f"(?: (?:{of}|two|three|{colour}|{quality}|colou?red))*"
        relative = f"{_of(words.relatives)}(?: {_WORD}){{0,4}}?"
        link = f"(?: (?:{_of(words.links)}|{quality})(?: {_WORD}){{0,4}}?)?"
        is_ = "(?: (?:that|which) (?:is|are|was|looks|seems|has)(?: the| a)?| the| with the)"
        strong = (
            f"{quality}{between} (?:{shapes}|{things})",
            f"{_of(words.exclusives)}{between} {shapes}",
            f"{colour}(?: colou?red| {quality})? {things}",
            f"{shape} shaped {things}",
            f"{noun}{is_} {quality}",
            f"{noun}{link} {_of(words.traits)}",
            f"{noun}{link} {_of(words.relations)}(?: {_WORD}){{0,2}}? {anchor}",
            f"{anything} in {colour}",
            _of(words.names),
            f"{anything} {relative}(?: {_WORD}){{0,4}}? (?:{colour}|{_nouns(words.shapes)})",
        )
        self._strong = re.compile(f"(?<= )(?:{'|'.join(strong)})(?= )")
        phrases = [phrase for group in astuple(words) for phrase in group]
        known = {word for phrase in phrases for word in phrase.split()}
        known |= {f"{noun}s" for noun in (*words.things, *words.shapes)}
        self._spelling = Spelling(known, _SHORTEST_FUZZY)
        self._weak = re.compile(f" {_of(words.alone)} (?={_of(words.followers)} |$)")

    def singles_out(self, words: Sequence[str]) -> bool:
        """Return whether lower-case `words` name a thing."""
        return self._strong.search(self._text(words)) is not None

    def hints(self, words: Sequence[str]) -> bool:
        """Return whether they may name one without a noun, which takes a verb."""
        return self._weak.search(self._text(words)) is not None

    def _text(self, words: Sequence[str]) -> str:
        """Join words with a space around each, with typing errors mended."""
        return f" {' '.join(map(self._mended, words))} "

    def _mended(self, word: str) -> str:
        return min(self._spelling.meant(word), default=word)


def _of(phrases: Iterable[str]) -> str:
    """Return a pattern of whole phrases; the longest that fits is taken."""
    longest_first = sorted(phrases, key=len, reverse=True)
    return f"(?:{'|'.join(map(re.escape, longest_first))})"


def _nouns(phrases: Collection[str]) -> str:
    return f"{_of(phrases)}(?:s|es)?" if phrases else "(?!)"
