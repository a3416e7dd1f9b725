"""Refuses instructions that no policy should be given, with the reason in words."""

from __future__ import annotations

import re
from collections.abc import Callable

from vla_ros.core.conventions import MAX_CHARACTERS, MAX_TOKENS
from vla_ros.core.errors import InstructionRejected
from vla_ros.planner.prohibition import ProhibitionCheck
from vla_ros.planner.vocabulary import Evidence, Vocabulary

#: Longest word that is looked at, in characters; anything longer is noise.
MAX_WORD = 30
#: What is typed for an apostrophe.
APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc\u2032\uff07\u00b4`", "'"))
EXAMPLE = 'For example: "pick up the red cube".'


class InstructionCheck:
    """Lets an instruction pass that names something on the table and may be an order.

    The rule is made for words that nobody foresaw: a colour together with a shape is enough,
    whatever the verb; one of the two needs a known verb beside it.

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
        if (tokens := self._count_tokens(tidy)) > MAX_TOKENS:
            raise InstructionRejected(
                f"{_shortened(tidy)}: it has {tokens} word pieces, the policy reads {MAX_TOKENS}; "
                "say it in fewer words"
            )
        if reason := self._fault(tidy.lower().translate(APOSTROPHES)):
            raise InstructionRejected(f"{_shortened(tidy)}: {reason}")
        return tidy

    def _fault(self, text: str) -> str:
        """Return why lower-case `text` is refused, or an empty text."""
        words = [word for word in re.findall(r"[a-z']+", text) if len(word) <= MAX_WORD]
        known = self._vocabulary.find(words)
        if self._prohibitions.forbids(text):
            return "it says what not to do; to end what runs, cancel its goal"
        if not (known.colours or known.shapes or known.containers or known.verbs):
            return f"nothing in it is known here. {self._understood()}"
        if self._vocabulary.is_question(words) and not known.verbs:
            return f"it asks a question. {self._understood()}"
        if known.foreign_colours and not known.colours:
            return (
                f"nothing here is {' or '.join(sorted(known.foreign_colours))}. "
                f"{self._understood()}"
            )
        return self._object_fault(known)

    def _object_fault(self, known: Evidence) -> str:
        if not (known.colours or known.shapes):
            return f"it names no object. {self._understood()}"
        if not (known.colours and known.shapes) and not known.verbs:
            return f"it does not say what to do. {self._understood()}"
        return ""

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
