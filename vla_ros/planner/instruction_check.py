"""Refuses instructions that no policy should be given, with the reason in words."""

from __future__ import annotations

import re
from collections.abc import Callable

from vla_ros.core.conventions import MAX_CHARACTERS, MAX_TOKENS
from vla_ros.core.errors import InstructionRejected
from vla_ros.planner.prohibition import ProhibitionCheck
from vla_ros.planner.steps import StepSplitter
from vla_ros.planner.vocabulary import Vocabulary

#: Longest word that is looked at, in characters; anything longer is noise.
MAX_WORD = 30
#: What is typed for an apostrophe.
APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc\u2032\uff07\u00b4`", "'"))
EXAMPLE = 'For example: "pick up the red cube".'


class InstructionCheck:
    """Lets an instruction pass that names something on the table and may be an order.

    The rule is made for words that nobody foresaw: what names an object clearly is enough,
    whatever the verb: a colour together with a shape, or a way to single a thing out, such as
    "the larger cube" or "the one that is not red". A colour or a shape alone needs a known verb
    beside it, or else, as in "I want the cube", a wish. Where an instruction has several steps
    each of them is judged.

    Args:
        vocabulary: The known words; the shipped ones by default.
        count_tokens: Counts the word pieces of a text as the policy's tokenizer does; without it
            words and punctuation marks are counted, which is never more than that.
    """

    def __init__(
        self,
        vocabulary: Vocabulary | None = None,
        count_tokens: Callable[[str], int] | None = None,
    ) -> None:
        """Keep the vocabulary and the counter."""
        self._vocabulary = vocabulary or Vocabulary.load()
        self._prohibitions = ProhibitionCheck(self._vocabulary)
        self._splitter = StepSplitter(self._vocabulary)
        self._wish = re.compile(rf"\b(?:{'|'.join(map(re.escape, self._vocabulary.wishes))})\b")
        shapes = "|".join(map(re.escape, self._vocabulary.shapes))
        self._definite = re.compile(rf"\b(?:the|this|that) (?:{shapes})s?\b")
        self._count_tokens = count_tokens or _count_words

    def accept(self, text: str) -> str:
        """Return `text` with its white space tidied; called before anything else sees it.

        Raises:
            InstructionRejected: with the reason, and what would be understood.
        """
        if len(text) > MAX_CHARACTERS:
            raise InstructionRejected(
                f"the instruction has {len(text)} characters; at most {MAX_CHARACTERS} are read"
            )
        tidy = " ".join(text.split())
        if not tidy:
            raise InstructionRejected(f"the instruction is empty. {EXAMPLE}")
        if not tidy.isprintable():
            raise InstructionRejected("the instruction holds characters that cannot be printed")
        for step in self.steps(tidy):
            if reason := self._too_long(step) or self._fault(step.lower().translate(APOSTROPHES)):
                raise InstructionRejected(f"{_shortened(step)}: {reason}")
        return tidy

    def steps(self, text: str) -> tuple[str, ...]:
        """Return what the policy is told one after the other; called with an accepted text."""
        return self._splitter.split(text)

    def _too_long(self, text: str) -> str:
        if (tokens := self._count_tokens(text)) <= MAX_TOKENS:
            return ""
        return f"it has {tokens} word pieces, the policy reads {MAX_TOKENS}; say it in fewer words"

    def _fault(self, text: str) -> str:
        """Return why lower-case `text` is refused, or an empty text."""
        words = [word for word in re.findall(r"[a-z']+", text) if len(word) <= MAX_WORD]
        known = self._vocabulary.find(words)
        if self._prohibitions.forbids(text) or (words[:1] == ["not"] and not known.verbs):
            return "it says what not to do; to end what runs, cancel its goal"
        if not (known.mentions_object or known.containers or known.verbs):
            return f"nothing in it is known here. {self._understood()}"
        if self._vocabulary.is_question(words) and not known.verbs:
            return f"it asks a question. {self._understood()}"
        if known.foreign_colours and not known.colours:
            return (
                f"nothing here is {' or '.join(sorted(known.foreign_colours))}. "
                f"{self._understood()}"
            )
        if not known.mentions_object:
            return f"it names no object. {self._understood()}"
        if not (known.names_object or known.verbs or self._wishes(text)):
            return f"it does not say what to do. {self._understood()}"
        return ""

    def _wishes(self, text: str) -> bool:
        """Return whether lower-case `text` wants something of "the cube", without a known verb."""
        return bool(self._definite.search(text) and self._wish.search(text))

    def _understood(self) -> str:
        vocabulary = self._vocabulary
        skills, colours, shapes, containers = (
            ", ".join(dict.fromkeys(names))
            for names in (
                vocabulary.verbs.values(),
                vocabulary.colours.values(),
                vocabulary.shapes.values(),
                vocabulary.containers.values(),
            )
        )
        return (
            f"Understood are {skills}, with a {shapes} in {colours}, and {containers} to put it "
            f"into. {EXAMPLE}"
        )


def _count_words(text: str) -> int:
    """Return a lower bound of the word pieces of `text`."""
    return len(re.findall(r"\w+|[^\w\s]", text)) + 2


def _shortened(text: str) -> str:
    return f'"{text}"' if len(text) <= 60 else f'"{text[:57]}..."'
