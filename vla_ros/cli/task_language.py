"""The language of instructions: what they are about, and words that are spelt right.

Those are the grammar's, those of everyday, and a user's own. The everyday ones are the whole words
of the language encoder's tokenizer, some 20,000.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path
from vla_ros.data.quality.language import Language
from vla_ros.data.quality.text_checks import words_of
from vla_ros.planner.vocabulary import Vocabulary

GRAMMAR, TOKENIZER = "config/instructions", "models/tabletop-small/tokenizer.json"
#: Slots and choices of templates: `{object}`, `[a|b]`.
MARKS = re.compile(r"\{[^}]*\}|[\[\]|*]")


def task_language(more: Path | None = None) -> Language:
    """Return the language of instructions, with the words of a file of one's own added.

    Raises:
        UserError: if that file cannot be read; names it.
    """
    if more is None:
        return Language(known=_known_words(), classify=_classify)
    try:
        text = more.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{more}: expected a text file of words: {error}") from error
    known = _known_words() | frozenset(words_of(text))
    return Language(known=known, classify=_classify)


def _classify(instruction: str) -> dict[str, frozenset[str]]:
    """Return what an instruction is about, as the planner sees it."""
    found = _vocabulary().find(words_of(instruction))
    return {
        "skill": found.verbs,
        "colour": found.colours,
        "shape": found.shapes,
        "container": found.containers,
    }


@cache
def _vocabulary() -> Vocabulary:
    return Vocabulary.load()


@cache
def _known_words() -> frozenset[str]:
    tokens = json.loads(resource_path(TOKENIZER).read_text(encoding="utf-8"))["model"]["vocab"]
    found = {token for token in tokens if token.isalpha()}  # parts of words begin with ##
    for path in sorted(resource_path(GRAMMAR).glob("*.yaml")):
        for text in _texts(yaml.safe_load(path.read_text(encoding="utf-8"))):
            found.update(words_of(MARKS.sub(" ", text)))
    return frozenset(found)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value
