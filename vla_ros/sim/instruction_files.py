"""Strict readers of the instruction files: phrasings, the training grammar, the nouns."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from numpy.random import Generator

from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path
from vla_ros.sim.noun_phrases import Nouns, Words, choose

GRAMMAR_FILE = "train.yaml"
HELD_OUT_FILE = "phrasing.yaml"

#: Slots that a template of each skill must hold.
REQUIRED_SLOTS: dict[str, frozenset[str]] = {
    "reach": frozenset({"object"}),
    "push": frozenset({"object", "direction"}),
    "lift": frozenset({"object"}),
    "place": frozenset({"object", "target"}),
    "stack": frozenset({"object", "target"}),
}
#: Longest template in characters; the planner refuses sentences above 500.
LONGEST_TEMPLATE = 300


class PhrasingError(UserError):
    """A phrasing file that cannot be used; names file, skill, template and the way out."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A template with choices `[a|b]`, cut into its alternatives."""

    parts: tuple[tuple[str, ...], ...]

    @staticmethod
    def parse(text: str) -> Frame:
        """Cut `text` at its brackets."""
        parts = []
        for piece in re.split(r"(\[[^\]]*\])", text):
            inside = piece.startswith("[")
            parts.append(tuple(piece[1:-1].split("|")) if inside else (piece,))
        return Frame(tuple(parts))

    def draw(self, rng: Generator) -> str:
        """Return one string, each choice as likely as its alternatives."""
        return "".join(choose(rng, part) if len(part) > 1 else part[0] for part in self.parts)

    def expand(self) -> Iterator[str]:
        """Yield every string."""
        for pieces in itertools.product(*self.parts):
            yield "".join(pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillFrames:
    """Imperative clauses, sentences that stand by themselves, and what may be added to either.

    `asides` say more around a `{clause}` without changing its meaning: "don't pick it up".
    """

    commands: tuple[Frame, ...]
    sentences: tuple[Frame, ...]
    asides: tuple[Frame, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """The training grammar, parsed."""

    wrappers: tuple[Frame, ...]
    sentence_wrappers: tuple[Frame, ...]
    skills: Mapping[str, SkillFrames]


def instruction_directory() -> Path:
    """Return the folder `config/instructions`, installed or in the source tree."""
    return resource_path("config/instructions")


def load_phrasings(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a phrasing file: YAML, skill -> templates.

    Raises:
        PhrasingError: names the file, the skill, the template and what to change.
    """
    table = _read_mapping(path)
    if not table:
        raise PhrasingError(f"{path}: is empty; expected skill -> list of templates")
    phrasings: dict[str, tuple[str, ...]] = {}
    for skill, templates in table.items():
        if skill not in REQUIRED_SLOTS:
            raise PhrasingError(
                f"{path}: skill {skill!r} does not exist; expected {', '.join(REQUIRED_SLOTS)}"
            )
        if not isinstance(templates, list) or not templates:
            raise PhrasingError(
                f"{path}: {skill}: expected a list of templates, got {templates!r}"
            )
        for index, template in enumerate(templates):
            _check_template(f"{path}: {skill}[{index}]", template, REQUIRED_SLOTS[skill])
        phrasings[skill] = tuple(templates)
    return phrasings


def load_grammar(path: Path) -> Grammar:
    """Read the training grammar."""
    table = _read_mapping(path)
    return Grammar(
        wrappers=_frames(table["wrappers"]),
        sentence_wrappers=_frames(table["sentence_wrappers"]),
        skills={
            skill: SkillFrames(
                commands=_frames(frames["commands"]),
                sentences=_frames(frames["sentences"]),
                asides=_frames(frames["asides"]),
            )
            for skill, frames in table["skills"].items()
        },
    )


def load_nouns(path: Path) -> Nouns:
    """Read the words for colours, shapes, containers and directions."""
    table = _read_mapping(path)
    kinds = {
        kind: {
            name: Words(common=tuple(words["common"]), rare=tuple(words["rare"]))
            for name, words in table[kind].items()
        }
        for kind in ("colours", "shapes", "containers", "directions")
    }
    return Nouns(**kinds)


def _frames(texts: list[str]) -> tuple[Frame, ...]:
    return tuple(Frame.parse(text) for text in texts)


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PhrasingError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PhrasingError(f"{path}: is not YAML: {error}") from error
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise PhrasingError(f"{path}: expected skill -> templates, got a {type(table).__name__}")
    return table


def _check_template(where: str, template: object, required: frozenset[str]) -> None:
    wanted = " and ".join(f"{{{slot}}}" for slot in sorted(required))
    if not isinstance(template, str):
        raise PhrasingError(
            f"{where}: expected text, got {template!r}. "
            "A template that begins with {object} needs quotes in YAML."
        )
    if not template.strip() or len(template) > LONGEST_TEMPLATE:
        raise PhrasingError(
            f"{where}: has {len(template)} characters; expected 1 to {LONGEST_TEMPLATE}"
        )
    slots = re.findall(r"\{([^{}]*)\}", template)
    if set(slots) != required:
        raise PhrasingError(
            f"{where}: {template!r} holds {_listed(slots)}; this skill needs exactly {wanted}"
        )
    if set("{}") & set(re.sub(r"\{[^{}]*\}", "", template)):
        raise PhrasingError(f"{where}: {template!r} has a brace that does not belong to a slot")


def _listed(slots: list[str]) -> str:
    return ", ".join(f"{{{slot}}}" for slot in sorted(set(slots))) or "no slot"
