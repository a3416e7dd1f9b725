"""Cuts an instruction into the steps that a policy is told one after the other."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vla_ros.planner.prohibition import ProhibitionCheck
from vla_ros.planner.vocabulary import Evidence, Vocabulary

_END = r"(?:done|finished|over|through|complete|completed)"
_DONE = (
    rf"(?:once|when|as soon as|after) (?:(?:it|that|this)(?: is|'s| has been| was) {_END}"
    rf"|you(?: are|'re) {_END}|you have (?:done|finished)(?: that| this| it| so)?|{_END})"
)
_NUMBER = r"(?:step )?\d{1,2}(?=[.):] )"
_MARKS = r"(?:\s*[,:;.)])*"
#: What stands between two steps, the first one first.
_THEN = re.compile(
    r"(?:[,;.:!]\s*|\s)(?:and\s+)?(?:(?:only )?then|after (?:that|this)|afterwards?|after which"
    rf"|{_DONE}|next(?! to\b| stop\b)|finally|lastly|subsequently|thereafter|thereupon|later on"
    rf"|followed by|second(?:ly)?(?=[,:])|third(?:ly)?(?=[,:])|{_NUMBER})"
    rf"\b{_MARKS}(?:\s+(?:please|just|also))?\s+",
    re.IGNORECASE,
)
_STOP = re.compile(r"[;.!]\s+(?=[A-Za-z])")
_AND = re.compile(r"(?:,\s+|,?\s+and\s+)(?:also\s+|please\s+)?(?=[A-Za-z])", re.IGNORECASE)
#: What may stand before the first step.
_FIRST = re.compile(
    r"^\s*(?:first(?: of all| off|ly)?|to (?:begin|start)(?: with)?|at first|step one"
    rf"|(?:begin|start)(?: off)? (?:with|by)(?: this)?|{_NUMBER})\b{_MARKS}\s+",
    re.IGNORECASE,
)
_HAVE = r"(?:you have |you've |having |(?:you are |you're )?(?:done|finished|through) with )"
_AFTER = rf"(?:{_HAVE}|you |(?=\w+ing\b))"
#: "Before you lift the cube, push the ball left"; "lift the cube after pushing the ball left"; and
#: with the first step first, "after pushing ...", "... before you lift the cube"; and so on.
_TURNED = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"^\s*before (?:you can |you |trying to )?(?P<second>.+?),\s*(?:first )?(?P<first>.+)$",
        rf"^\s*after {_AFTER}(?P<first>.+?),\s*(?:then )?(?P<second>.+)$",
        rf"^\s*(?:once|when|as soon as) {_HAVE}(?P<first>.+?),\s*(?:then )?(?P<second>.+)$",
        rf"^(?P<second>.+?),? (?:but )?(?:only )?(?<!not )after {_AFTER}(?P<first>.+)$",
        r"^(?P<second>.+?),? but not before (?:you have |you )(?P<first>.+)$",
        r"^(?P<second>.+?),? but (?:first|before that|before this)\b,? (?P<first>.+)$",
        r"^(?P<first>.+?),? (?<!not )before (?:you can |you |(?=\w+ing\b))(?P<second>.+)$",
    )
)
#: These stand for what another part names.
_PRONOUN = re.compile(
    r"\b(?:it|them|(?:this|that|these|those)(?: one)?(?= (?:on|onto|in|into|to|at|up|down|over|"
    r"back|forwards?|away|off|towards?|there|here|left|right)\b| *$))\b"
)
#: "Then, without lifting it, push the cube left": it is what is named behind.
_ASIDE = re.compile(r"\bwithout \w+ing (?:it|them)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Boundary:
    """A stretch between two parts, and what kind of words or marks it is made of."""

    start: int
    end: int
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Lower-case words of a part and what they mention."""

    words: list[str]
    said: Evidence


class StepSplitter:
    """Finds the steps by the words between them.

    A part is a step of its own if it orders something and names its own object. "Pick up the cube
    and then put it into the bowl" is one step: the policy does it as a whole. So is whatever
    cannot be cut with certainty. A step is a stretch of the instruction, never other words.
    """

    def __init__(self, vocabulary: Vocabulary | None = None) -> None:
        """Take the words; the shipped ones by default."""
        self._vocabulary = vocabulary or Vocabulary.load()
        self._prohibitions = ProhibitionCheck(self._vocabulary)

    def split(self, text: str) -> tuple[str, ...]:
        """Return the steps in the order in which they are to be done; one if it is one."""
        for pattern in _TURNED:
            found = pattern.match(text)
            if found is not None and self._are_two(found["first"], found["second"]):
                return (*self._cut(found["first"]), *self._cut(found["second"]))
        return self._cut(text)

    def _cut(self, text: str) -> tuple[str, ...]:
        """Cut between parts that are steps; what is none stays with the step before it."""
        body = _FIRST.sub("", text)
        boundaries = _boundaries(body)
        cuts, begin = [], 0
        for boundary in boundaries:
            left = body[begin : boundary.start]
            right = body[boundary.end : _end_of_part(body, boundary, boundaries)]
            if self._separates(left, boundary, right):
                cuts.append(boundary)
                begin = boundary.end
        if not cuts:
            return (_tidy(text),)
        starts = [0, *(cut.end for cut in cuts)]
        ends = [*(cut.start for cut in cuts), len(body)]
        return tuple(_tidy(body[a:b]) for a, b in zip(starts, ends, strict=True))

    def _are_two(self, first: str, second: str) -> bool:
        one, other = self._read(first), self._read(second)
        return (
            self._orders(first, one)
            and self._orders(second, other)
            and not (_refers(first) or _refers(second))
        )

    def _separates(self, left: str, boundary: _Boundary, right: str) -> bool:
        """Return whether a boundary ends one step and begins another."""
        before, behind = self._read(left), self._read(right)
        if not (self._orders(left, before) and self._orders(right, behind)):
            return False
        if boundary.pattern is _THEN:
            return not self._refers_back(before, behind)
        if not (before.said.verbs and behind.said.verbs) or _refers(right):
            return False
        if boundary.pattern is _STOP:
            return True
        return self._are_listed_orders(before, behind)

    def _are_listed_orders(self, before: _Part, behind: _Part) -> bool:
        """Return whether "X and Y" are two orders: each begins with a verb and has its object."""
        verbs = self._vocabulary.verbs
        return (
            before.words[0] in verbs
            and behind.words[0] in verbs
            and not self._lacks_object(behind)
            and before.said.names_object
            and behind.said.names_object
            and (before.said.colours, before.said.shapes)
            != (behind.said.colours, behind.said.shapes)
        )

    def _orders(self, text: str, part: _Part) -> bool:
        """Return whether a part names an object and says what to do with it."""
        said = part.said
        if part.words[:1] and part.words[0] in self._vocabulary.conditions:
            return False
        if not (said.names_object or (said.mentions_object and said.verbs)):
            return False
        return not (self._is_verbless(part) or self._prohibitions.forbids(text.lower()))

    def _is_verbless(self, part: _Part) -> bool:
        known = self._vocabulary
        names = {
            word
            for phrase in (*known.colours, *known.shapes, *known.containers)
            for word in phrase.split()
        }
        return not set(part.words) - names - known.verbless

    def _refers_back(self, before: _Part, behind: _Part) -> bool:
        """Return whether a part is about the object of the part before it."""
        text = _ASIDE.sub("", " ".join(behind.words))
        pronoun = _PRONOUN.search(text)
        if pronoun is not None:
            ahead = self._vocabulary.find(text[: pronoun.start()].split())
            if not ahead.mentions_object:
                return True
        said = behind.said
        if not (said.colours or said.described):
            return said.shapes <= before.said.shapes
        return self._lacks_object(behind)

    def _lacks_object(self, part: _Part) -> bool:
        """Return whether a part only says where to put something: "place on the blue cube"."""
        known = self._vocabulary
        skill = known.verbs.get(part.words[0])
        if skill not in ("place", "stack") or part.words[1] not in known.places:
            return False
        said = part.said
        return not said.containers and max(len(said.colours), len(said.shapes)) < 2

    def _read(self, text: str) -> _Part:
        words = re.findall(r"[a-z']+", text.lower())
        return _Part(words=words, said=self._vocabulary.find(words))


def _boundaries(text: str) -> list[_Boundary]:
    """Return what may stand between two parts, in their order and none inside another."""
    found = [
        _Boundary(start=match.start(), end=match.end(), pattern=pattern)
        for pattern in (_THEN, _STOP, _AND)
        for match in pattern.finditer(text)
    ]
    kept: list[_Boundary] = []
    for boundary in found:
        if all(boundary.end <= other.start or boundary.start >= other.end for other in kept):
            kept.append(boundary)
    return sorted(kept, key=lambda boundary: boundary.start)


def _end_of_part(text: str, boundary: _Boundary, boundaries: list[_Boundary]) -> int:
    """Return where the part behind a boundary ends: at the next one that is as strong."""
    rank = [_THEN, _STOP, _AND]
    strong = rank[: rank.index(boundary.pattern) + 1]
    ends = [b.start for b in boundaries if b.start >= boundary.end and b.pattern in strong]
    return min(ends, default=len(text))


def _refers(text: str) -> bool:
    return _PRONOUN.search(text.lower()) is not None


def _tidy(part: str) -> str:
    return part.strip(" ,;:")
