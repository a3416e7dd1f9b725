"""Questions about all rendered states of the demonstrations, embedded once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.questions import TOLD, ask
from vla_ros.learning.rollouts import KINDS, MAX_THINGS
from vla_ros.learning.texts import embed_once
from vla_ros.sim.references import Thing
from vla_ros.sim.scenes import COLOURS, SHAPES


@dataclass(slots=True)
class QuestionBank:
    """Questions about N rendered states, Q about each; a question has a row in `features`.

    Attributes:
        features: Token features of the sentences (R, L, F) float16.
        masks: (R, L).
        rows: Of each question (N, Q); -1 where the sentence is too long to be read.
        answers: (N, Q, MAX_THINGS), true for the things that are right.
        target: (N, Q), -1 for none.
        present: (N, Q).
        described: Colour and kind of object and of target (N, Q, 2, 2).
        novel: (N, Q), whether only demonstrations tell what is meant.
        told: Classes of `TOLD` (N, Q, T).
    """

    features: NDArray[np.float16]
    masks: NDArray[np.bool_]
    rows: NDArray[np.int64]
    answers: NDArray[np.bool_]
    target: NDArray[np.int64]
    present: NDArray[np.bool_]
    described: NDArray[np.int64]
    novel: NDArray[np.bool_]
    told: NDArray[np.int64]

    @staticmethod
    def build(
        data: Demonstrations, language: Path, per_state: int, cache: Path | None
    ) -> QuestionBank:
        """Ask `per_state` questions about every rendered state, and embed them once per cache."""
        rng = np.random.default_rng((0, 41))
        asked = [
            [ask(rng, things) for _ in range(per_state)]
            for things in (things_at(data, int(row)) for row in data.images["row"])
        ]
        flat = [question for about in asked for question in about]
        features, masks, keep = embed_once(language, [q.text for q in flat], cache)
        rows = np.full(len(flat), -1)
        rows[keep] = np.arange(len(keep))
        answers = np.zeros((len(flat), MAX_THINGS), bool)
        for index, question in enumerate(flat):
            answers[index, list(question.answers)] = True
        shape = (len(asked), per_state)
        return QuestionBank(
            features=features,
            masks=masks,
            rows=rows.reshape(shape),
            answers=answers.reshape(*shape, MAX_THINGS),
            target=np.array([q.target for q in flat]).reshape(shape),
            present=np.array([q.present for q in flat]).reshape(shape),
            described=np.array([(q.described, q.target_described) for q in flat]).reshape(
                *shape, 2, 2
            ),
            novel=np.array([q.kind == "novel" for q in flat]).reshape(shape),
            told=np.array([q.told for q in flat]).reshape(*shape, len(TOLD)),
        )


def things_at(data: Demonstrations, row: int) -> tuple[Thing, ...]:
    """Return what stands on the table in a state, as references are found among it."""
    episode = int(data.states["episode"][row])
    places = data.states["positions"][row]
    things = []
    for index, kind in enumerate(data.meta["kind"][episode]):
        if kind < 0:
            break
        colour = int(data.meta["colour"][episode, index])
        things.append(
            Thing(
                shape=KINDS[int(kind)],
                colour=COLOURS[colour] if kind < len(SHAPES) else None,
                half=float(data.meta["half"][episode, index]),
                xy=(float(places[index, 0]), float(places[index, 1])),
            )
        )
    return tuple(things)
