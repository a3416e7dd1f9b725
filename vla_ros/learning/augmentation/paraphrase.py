"""Other words for the same instruction; none that means something else gets through."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.random import Generator

from vla_ros.core.errors import UserError
from vla_ros.evaluation.scene_search import Request
from vla_ros.learning.augmentation.meaning import Meaning, read_meaning
from vla_ros.planner.language_backend import LanguageBackend
from vla_ros.sim.instructions import PhrasingBook

#: How often more are asked for than are still wanted, before what came has to do.
ROUNDS = 4

PROMPT = """\
Rewrite the order below in {count} different ways, as different people would say it to a robot.
Keep its meaning exactly: the same action, the same object with its colour and shape, the same
target or direction. One per line, nothing else, no numbers.

Order: {text}
"""


class Paraphraser(Protocol):
    """Says instructions in other words; what it says is checked by `paraphrases`."""

    def propose(self, text: str, meaning: Meaning, count: int, rng: Generator) -> list[str]:
        """Return about `count` sentences that should mean the same; called until enough do."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateParaphraser:
    """Draws sentences of templates and synonyms.

    Attributes:
        book: The shipped grammar, or a user's templates.
    """

    book: PhrasingBook

    def propose(self, text: str, meaning: Meaning, count: int, rng: Generator) -> list[str]:
        """Draw sentences for the meaning.

        Raises:
            UserError: if the meaning has several steps, or leaves open what templates need.
        """
        if len(meaning) != 1:
            raise UserError(f"{text!r}: has {len(meaning)} steps; templates say one")
        return [compose(self.book, meaning[0], rng) for _ in range(count)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelParaphraser:
    """Asks a language model.

    Attributes:
        backend: The model.
    """

    backend: LanguageBackend

    def propose(self, text: str, meaning: Meaning, count: int, rng: Generator) -> list[str]:
        """Ask once, and take each line of the answer."""
        del meaning
        seed = int(rng.integers(2**31))
        answer = self.backend.complete(PROMPT.format(count=count, text=text), seed=seed)
        lines = (re.sub(r"^\s*(?:\d+[.)]|[-*•])\s*", "", line) for line in answer.splitlines())
        return [line.strip().strip('"') for line in lines if line.strip()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paraphrases:
    """What came of asking for other words.

    Attributes:
        texts: Different sentences that are read to mean the same.
        refused: Sentences that are not, each with why.
    """

    texts: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


def paraphrases(
    text: str, meaning: Meaning, paraphraser: Paraphraser, count: int, seed: int
) -> Paraphrases:
    """Return up to `count` other ways to say an instruction.

    Every proposal is read by the planner's words as an instruction to a robot would be, and is
    kept only if it asks for what `meaning` says, step by step.

    Args:
        text: The instruction; not among what is returned.
        meaning: Of it.
        paraphraser: Proposes sentences.
        count: How many are wanted, above 0.
        seed: Of every random choice.

    Raises:
        UserError: if the paraphraser cannot say such a thing.
    """
    rng = np.random.default_rng(seed)
    seen = {_plain(text)}
    kept: list[str] = []
    refused: list[tuple[str, str]] = []
    for _ in range(ROUNDS):
        if len(kept) >= count:
            break
        for proposal in paraphraser.propose(text, meaning, count - len(kept), rng):
            if _plain(proposal) in seen:
                continue
            seen.add(_plain(proposal))
            if why := _differs(proposal, meaning):
                refused.append((proposal, why))
            else:
                kept.append(proposal)
    return Paraphrases(texts=tuple(kept[:count]), refused=tuple(refused))


def compose(book: PhrasingBook, request: Request, rng: Generator) -> str:
    """Return a sentence for a request.

    Raises:
        UserError: if the request leaves a colour or shape open.
    """
    open_parts = [part for part in (request.named, request.base) if part and None in part]
    if open_parts:
        raise UserError(
            f"'{request}' names no colour or no shape; templates need both. Ask a language model "
            "(--endpoint) instead"
        )
    colour, shape = request.named
    target: str | tuple[str, str] | None = request.container
    if request.base is not None:
        target = (str(request.base[0]), str(request.base[1]))
    return book.sample(
        rng, request.skill, (str(colour), str(shape)), target=target, direction=request.direction
    ).text


def _differs(proposal: str, meaning: Meaning) -> str:
    """Return why a sentence does not mean `meaning`; "" if it does."""
    try:
        read = read_meaning(proposal)
    except UserError as error:
        return str(error)
    if read != meaning:
        return f"is read as '{_words(read)}', not '{_words(meaning)}'"
    return ""


def _words(meaning: Meaning) -> str:
    return ", then ".join(map(str, meaning))


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))
