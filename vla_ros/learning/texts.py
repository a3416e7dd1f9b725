"""A bank of embedded training sentences, looked up by what they mean."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from vla_ros.core.errors import InstructionRejected
from vla_ros.engine.language import LanguageEncoder
from vla_ros.learning.provenance import language_sha256
from vla_ros.sim.instructions import Instruction, PhrasingBook
from vla_ros.sim.layout import CONTAINERS, DIRECTIONS
from vla_ros.sim.reasoning import sample_reasoning_scene
from vla_ros.sim.references import REFERENCE_SUITES
from vla_ros.sim.scenes import COLOURS, HELD_OUT_COMBINATIONS, SHAPES, SKILLS

#: (skill, object, goal): the goal is a container, a direction, a colour-shape pair or None.
Meaning = tuple[str, tuple[str, str], str | tuple[str, str] | None]

PAIRS = tuple((c, s) for c in COLOURS for s in SHAPES if (c, s) not in HELD_OUT_COMBINATIONS)
#: Share of the sentences by skill: which thing goes onto which is the hardest to read.
SHARES = {"reach": 0.1, "push": 0.2, "lift": 0.1, "place": 0.25, "stack": 0.35}
#: Sentences that name the object by reasoning, as a share of the others; what they mean of the
#: object is for the scene to say.
REFERENCE_SHARE = 0.25
NAMELESS = ("", "")
MANY = 2000  # sentences from which on embedding them is shared out
UNTOLD = -100  # class of what a sentence does not say
#: Classes of the auxiliary text targets; the last class of an optional one is "none".
AUXILIARY = {
    "skill": 5,
    "colour": 6,
    "shape": 3,
    "target_colour": 7,
    "target_kind": 6,
    "direction": 5,
}


class TextBank:
    """Sentences as token features (N, L, F) float16, masks (N, L), and their classes."""

    def __init__(
        self,
        features: NDArray[np.float16],
        masks: NDArray[np.bool_],
        labels: NDArray[np.int64],
        meanings: list[Meaning],
    ) -> None:
        """Index the sentences by their meaning."""
        self.features, self.masks, self.labels = features, masks, labels
        self._rows: dict[Meaning, list[int]] = defaultdict(list)
        for row, meaning in enumerate(meanings):
            self._rows[meaning].append(row)

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.masks)

    def draw(self, rng: Generator, meaning: Meaning) -> int:
        """Return the row of a random sentence with the meaning."""
        rows = self._rows[meaning]
        return rows[int(rng.integers(len(rows)))]

    def draw_by_reference(self, rng: Generator, meaning: Meaning) -> int | None:
        """Return a row of the same skill and goal that names the object by reasoning.

        None if there is no such sentence.
        """
        rows = self._rows.get((meaning[0], NAMELESS, meaning[2]))
        return rows[int(rng.integers(len(rows)))] if rows else None

    @staticmethod
    def build(language: Path, count: int, seed: int = 0, cache: Path | None = None) -> TextBank:
        """Draw about `count` sentences and embed them, once per `cache`.

        Args:
            language: Directory with the language encoder.
            count: Sentences in all, divided by `SHARES`.
            seed: Of the draw.
            cache: File to keep them in.
        """
        rng = np.random.default_rng((seed, 23))
        meanings = all_meanings()
        instructions = []
        book = PhrasingBook.for_split("train")
        weights = {skill: sum(m[0] == skill for m in meanings) for skill in SKILLS}
        for meaning in meanings:
            skill, named, goal = meaning
            times = max(4, round(count * SHARES[skill] / weights[skill]))
            target = goal if skill in ("place", "stack") else None
            direction = str(goal) if skill == "push" else None
            instructions += [
                (book.sample(rng, skill, named, target=target, direction=direction), meaning)
                for _ in range(times)
            ]
        instructions += _by_reference(round(REFERENCE_SHARE * count), seed)
        texts = [text.text for text, _ in instructions]
        features, masks, keep = embed_once(language, texts, cache)
        kept = [instructions[row] for row in keep]
        labels = np.array([_classes(text) for text, _ in kept])
        return TextBank(features, masks, labels, [meaning for _, meaning in kept])


def all_meanings() -> list[Meaning]:
    """Every meaning a training instruction can have."""
    flat = [pair for pair in PAIRS if pair[1] != "ball"]
    meanings: list[Meaning] = [(s, pair, None) for s in ("reach", "lift") for pair in PAIRS]
    meanings += [("push", pair, direction) for pair in PAIRS for direction in DIRECTIONS]
    meanings += [("place", pair, container) for pair in PAIRS for container in CONTAINERS]
    meanings += [("stack", top, base) for top in flat for base in flat if top != base]
    return meanings


def _by_reference(count: int, seed: int) -> list[tuple[Instruction, Meaning]]:
    """Draw sentences of training scenes that name the object by reasoning."""
    drawn: list[tuple[Instruction, Meaning]] = []
    for index in range(count):
        suite = REFERENCE_SUITES[index % len(REFERENCE_SUITES)]
        scene = sample_reasoning_scene(seed=seed * count + index, suite=suite)
        said = scene.instruction
        drawn.append(
            (
                replace(said, colour="", shape=""),
                (scene.skill, NAMELESS, said.container or said.direction),
            )
        )
    return drawn


def embed_once(
    language: Path, texts: list[str], cache: Path | None
) -> tuple[NDArray[np.float16], NDArray[np.bool_], NDArray[np.int64]]:
    """Return token features (R, L, F), masks (R, L), and which of the texts they are of.

    They come from `cache` if that holds these very texts by this very encoder. What is longer
    than the policy reads is left out.
    """
    made_of = (*language_sha256(language).values(), *texts)
    digest = hashlib.sha256("\n".join(made_of).encode()).hexdigest()
    if cache is not None and cache.exists():
        with np.load(cache) as data:
            if "digest" in data and str(data["digest"]) == digest:
                return data["features"], data["masks"], data["keep"]
    features, masks, keep = _embed(language, texts)
    if cache is not None:
        partial = cache.with_suffix(".partial.npz")
        np.savez(partial, features=features, masks=masks, keep=keep, digest=np.array(digest))
        partial.rename(cache)
    return features, masks, keep


def _embed(
    language: Path, texts: list[str]
) -> tuple[NDArray[np.float16], NDArray[np.bool_], NDArray[np.int64]]:
    workers = len(os.sched_getaffinity(0)) if len(texts) > MANY else 1
    if workers == 1:
        parts = [_embed_part((language, texts))]
    else:
        size = -(-len(texts) // workers)
        jobs = [(language, texts[at : at + size]) for at in range(0, len(texts), size)]
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            parts = pool.map(_embed_part, jobs)
    readable = np.concatenate([part[2] for part in parts])
    return (
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        np.flatnonzero(readable),
    )


def _embed_part(
    job: tuple[Path, list[str]],
) -> tuple[NDArray[np.float16], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return features and masks of the texts that can be read, and which those are."""
    language, texts = job
    encoder = LanguageEncoder(language, cache_size=1)
    features = np.zeros((len(texts), encoder.tokens, encoder.width), np.float16)
    masks = np.zeros((len(texts), encoder.tokens), bool)
    readable = np.ones(len(texts), bool)
    for row, text in enumerate(texts):
        try:
            tokens = encoder.encode(text)
        except InstructionRejected:  # longer than the policy reads
            readable[row] = False
            continue
        features[row], masks[row] = tokens.features, tokens.mask
    return features[readable], masks[readable], readable


def _classes(text: Instruction) -> list[int]:
    kinds = (*SHAPES, *CONTAINERS)
    kind = text.container or text.target_shape
    return [
        SKILLS.index(text.skill),
        COLOURS.index(text.colour) if text.colour else UNTOLD,
        SHAPES.index(text.shape) if text.shape else UNTOLD,
        COLOURS.index(text.target_colour) if text.target_colour else len(COLOURS),
        kinds.index(kind) if kind else len(kinds),
        list(DIRECTIONS).index(text.direction) if text.direction else len(DIRECTIONS),
    ]
