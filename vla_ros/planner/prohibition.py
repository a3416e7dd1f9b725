"""Tells an instruction that says what not to do from one that also says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from vla_ros.planner.vocabulary import Vocabulary

#: Arrows join what they stand between; a dash with spaces, or any other mark, ends a clause.
_ARROWS = re.compile(r"<-+|[-=]+>")
_MARKS = re.compile(r"[^a-z' ()-]|-{2,}| - ")
_BARE = ("no", "not")
#: "There is only one of it" counts, and contrasts with nothing.
_COUNTING = re.compile(r"(?<= is)( just| only)(?= one )")
#: "The cube must not touch the table" says how things should be; "you must not touch it" forbids.
_MODAL = ("must not", "mustn't", "should not", "shouldn't", "not")


class ProhibitionCheck:
    """Finds instructions that forbid something and order nothing.

    A sentence is cut into clauses at its punctuation and its contrasts ("but", "just"). A negation
    reaches to the end of its clause. What stands outside of that has to hold an order: mostly a
    known verb. "Don't grab the cube, just bump it left" is an order, "hey, don't touch the cube"
    and "don't touch the cube, you will drop it" are none.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Take the words."""
        self._vocabulary = vocabulary
        self._affirmations = _any_of(vocabulary.affirmations)
        self._contrasts = _any_of(vocabulary.contrasts, keep=True)
        self._idle = _any_of(vocabulary.idle_orders)
        self._reasons = re.compile(f"(?:please |now )*{_any_of(vocabulary.reasons).pattern}")
        self._wishes = _any_of((*vocabulary.wishes, *vocabulary.directions))
        negations = _any_of((*vocabulary.negations, *_BARE), keep=True).pattern
        self._negations = re.compile(f"{negations}(?: ([a-z']+))?(?: ([a-z']+))?")

    def forbids(self, text: str) -> bool:
        """Return whether lower-case `text`, with its punctuation, only says what not to do."""
        negated = afterthought = False
        said: list[str] = []
        for contrasted, clause in self._clauses(text):
            afterthought = afterthought and not contrasted
            end = self._negation(clause)
            affirmed = self._idle.sub(" ", clause if end is None else clause[:end])
            if not (afterthought and self._reasons.match(affirmed)):
                said.append(affirmed)
            if end is not None:
                if self._orders(said, afterthought=afterthought):
                    return False
                negated, afterthought, said = True, True, []
        return negated and not self._orders(said, afterthought=afterthought)

    def _clauses(self, text: str) -> Iterator[tuple[bool, str]]:
        """Yield each clause, and whether a contrast leads it in."""
        joined = _COUNTING.sub("", self._affirmations.sub(" ", text))
        joined = _ARROWS.sub(" ", joined)
        for part in _MARKS.split(joined):
            first, *rest = self._contrasts.split(" ".join(re.findall(r"[a-z']+", part)))
            yield False, first.strip()
            for clause in rest[1::2]:
                yield True, clause.strip()

    def _negation(self, clause: str) -> int | None:
        """Return where a negation begins in a clause; None if it holds none."""
        for match in self._negations.finditer(clause):
            phrase, behind, after = match.groups(default="")
            if self._negates(phrase, clause[: match.start()].split(), behind, after):
                return match.start()
        return None

    def _negates(self, phrase: str, before: list[str], behind: str, after: str) -> bool:
        known = self._vocabulary
        if behind in known.affirmed_negations:
            return False
        subject = known.find(before)
        if phrase in _MODAL and subject.mentions_object:
            return behind == "be" and bool(known.find([after]).verbs)
        return phrase not in _BARE or bool(known.find([behind]).verbs)

    def _orders(self, clauses: list[str], *, afterthought: bool) -> bool:
        """Return whether clauses without a negation in them are an order.

        Args:
            clauses: What they say.
            afterthought: Whether they follow on a negation: then it takes a verb.
        """
        words = " ".join(clauses).split()
        said = self._vocabulary.find(words)
        if said.verbs:
            return True
        objects = max(len(said.colours), len(said.shapes), said.described)
        if afterthought or not objects:
            return False
        return bool(objects > 1 or said.containers or self._wishes.search(" ".join(words)))


def _any_of(phrases: Iterable[str], *, keep: bool = False) -> re.Pattern[str]:
    """Return a pattern of whole phrases; `*` in one stands for any words, `keep` makes a group."""
    longest_first = sorted(phrases, key=len, reverse=True)
    choices = "|".join(re.escape(item).replace(r"\*", "[a-z' ]*?") for item in longest_first)
    return re.compile(f"(?<![a-z']){'(' if keep else '(?:'}{choices})(?![a-z'])")
