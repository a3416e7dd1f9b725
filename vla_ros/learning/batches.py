"""Draws training batches: rendered states for the eyes, bare states for the hand."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from vla_ros.learning.actors import actor_weights
from vla_ros.learning.batch_types import (
    AskedBatch,
    ImageBatch,
    StateBatch,
    TableBatch,
    TextBatch,
    moved,
)
from vla_ros.learning.begun_chunks import begun_chunks, draw_delays
from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.question_bank import QuestionBank
from vla_ros.learning.texts import TextBank
from vla_ros.policy.configuration import CAMERAS, MODALITIES
from vla_ros.sim.scenes import COLOURS, SHAPES

#: Probability that a modality is missing from a training sample, in the order of MODALITIES.
DROPOUT = (0.04, 0.06, 0.08, 0.08, 0.1)
#: Share of the sentences about states that name the object by reasoning, where there are such.
SENTENCES_BY_REFERENCE = 0.3
#: How far a policy's memory of the command is off, and how often it has none.
LEAD_SCALE_NOISE, LEAD_NOISE_RAD, LEAD_DROPOUT = 0.15, 0.003, 0.05


class Batcher:
    """Draws batches; one seed gives one sequence of batches."""

    def __init__(
        self,
        data: Demonstrations,
        bank: TextBank,
        questions: QuestionBank | None,
        rng: Generator,
        device: torch.device | None = None,
        delay: int = 0,
        intervention_weight: float = 1.0,
    ) -> None:
        """Prepare to draw from the data with the banks' sentences; questions are for images.

        Batches come on `device`; the CPU if it is None. Chunks come up to `delay` rows late. What
        an operator did who took over from a policy counts `intervention_weight`.
        """
        self._intervention_weight = intervention_weight
        self._delay = delay
        self._data, self._bank, self._questions, self._rng = data, bank, questions, rng
        self._device = torch.device("cpu") if device is None else device
        episodes = data.states["episode"]
        self._first = np.searchsorted(episodes, np.arange(len(data.meta["skill"])))
        self._count = np.bincount(episodes, minlength=len(self._first))
        weights = data.meta["imitate"][episodes] * actor_weights(
            data.states["actor"], intervention_weight
        )
        self._weights = weights.astype(np.float32)
        #: Rows that may be drawn as bare states, and where those of each episode are among them.
        self._counting = np.flatnonzero(self._weights > 0)
        self._counted = np.bincount(episodes[self._counting], minlength=len(self._first))
        self._first_counting = np.cumsum(self._counted) - self._counted
        self._imitated = np.flatnonzero(self._counted)

    def texts(self, count: int) -> TextBatch:
        """Draw sentences of any meaning."""
        return moved(self._text(self._rng.integers(len(self._bank), size=count)), self._device)

    def states(self, episodes: int, repeat: int) -> StateBatch:
        """Draw `repeat` states of each of some episodes."""
        chosen = self._rng.choice(self._imitated, size=episodes)
        drawn = self._rng.random((episodes, repeat)) * self._counted[chosen, None]
        rows = self._counting[self._first_counting[chosen, None] + drawn.astype(np.int64)]
        return moved(self._gather(rows.ravel(), repeat), self._device)

    def images(self, count: int, per_image: int) -> ImageBatch:
        """Draw rendered states, with `per_image` sentences about each, and questions."""
        return self.images_at(self.draw_images(count), per_image)

    def aside(self) -> Batcher:
        """Return a batcher whose draws do not change what this one draws next."""
        rng = np.random.default_rng(0)
        return Batcher(
            self._data,
            self._bank,
            self._questions,
            rng,
            self._device,
            self._delay,
            self._intervention_weight,
        )

    @property
    def image_count(self) -> int:
        """How many rendered states there are."""
        return len(self._data.images["row"])

    def image_digest(self) -> str:
        """Return a digest that tells these rendered states from others."""
        digest = hashlib.sha256()
        for arrays in (self._data.images, self._data.meta, self._data.states):
            for name in sorted(arrays):
                digest.update(np.ascontiguousarray(arrays[name]).data)
        return digest.hexdigest()

    def draw_images(self, count: int) -> np.ndarray:
        """Draw which rendered states to look at."""
        return np.sort(self._rng.integers(self.image_count, size=count))

    def images_at(self, chosen: np.ndarray, per_image: int) -> ImageBatch:
        """Return the chosen rendered states, with `per_image` sentences about each."""
        data, rng, count = self._data, self._rng, len(chosen)
        rows = data.images["row"][chosen]
        state = self._gather(rows, 1)
        texts, things, exists, slack, looks = [], [], [], [], []
        for row in rows:
            episode = int(data.states["episode"][row])
            for sentence in range(per_image):
                own = sentence == 0
                meaning, named, target = (
                    data.meaning(episode) if own else data.any_meaning(rng, episode)
                )
                texts.append(self._bank.draw(rng, meaning))
                things.append(data.states["positions"][row][[named, max(target, 0)]])
                exists.append([1.0, float(target >= 0)])
                halves = data.meta["half"][episode][[named, max(target, 0)]]
                slack.append(1.6 * halves + 0.015)
                looks.append(data.looks(episode, named, target))
        shape = (count, per_image, 2)
        front, wrist = _pair(data, "depth", chosen)
        batch = ImageBatch(
            state=state,
            queries=self._text(np.array(texts)),
            per_image=per_image,
            rgb=_pair(data, "rgb", chosen),
            depth=(front.float() / 1000.0, wrist.float() / 1000.0),
            pose=_pair(data, "pose", chosen),
            things=torch.tensor(np.array(things), dtype=torch.float32).view(*shape, 3),
            exists=torch.tensor(exists).view(shape),
            slack=torch.tensor(np.array(slack), dtype=torch.float32).view(shape),
            looks=torch.tensor(np.array(looks)).view(*shape, 2),
            table=self.table(chosen),
            asked=self.asked(chosen),
        )
        return moved(batch, self._device)

    def table(self, chosen: np.ndarray) -> TableBatch:
        """Return what stands on the tables of the chosen rendered states."""
        data = self._data
        rows = data.images["row"][chosen]
        episodes = data.states["episode"][rows]
        kind = data.meta["kind"][episodes].astype(np.int64)
        colour = data.meta["colour"][episodes].astype(np.int64)
        colour[kind >= len(SHAPES)] = len(COLOURS)  # a container has none
        table = TableBatch(
            xyz=_tensor(np.nan_to_num(data.states["positions"][rows])),
            colour=torch.from_numpy(colour),
            kind=torch.from_numpy(kind),
            half=_tensor(data.meta["half"][episodes]),
        )
        return moved(table, self._device)

    def asked(self, chosen: np.ndarray) -> AskedBatch:
        """Return the questions about the chosen rendered states."""
        bank = self._questions
        assert bank is not None
        rows, target = bank.rows[chosen], bank.target[chosen]
        asked = AskedBatch(
            text=_text_batch(bank.features, bank.masks, np.maximum(rows, 0).ravel()),
            answers=_tensor(bank.answers[chosen]),
            target=_tensor(np.arange(bank.answers.shape[-1]) == target[..., None]),
            present=_tensor(bank.present[chosen]),
            described=torch.from_numpy(bank.described[chosen]),
            readable=_tensor(rows >= 0),
            novel=_tensor(bank.novel[chosen]),
            told=torch.from_numpy(bank.told[chosen]),
        )
        return moved(asked, self._device)

    def _gather(self, rows: np.ndarray, repeat: int) -> StateBatch:
        data = self._data
        episodes = data.states["episode"][rows]
        drawn = [self._sentence(int(episode)) for episode in episodes[::repeat]]
        sentences, by_reference = zip(*drawn, strict=True)
        named = data.meta["named"][episodes].astype(np.int64)
        target = data.meta["target"][episodes].astype(np.int64)
        there = np.maximum(target, 0)
        positions = data.states["positions"][rows]
        start = data.meta["start"][episodes]
        span = np.arange(len(rows))
        present = self._rng.random((len(rows), len(MODALITIES))) >= np.array(DROPOUT)
        both_lost = ~present[:, 0] & ~present[:, 1]
        present[both_lost, 0] = True
        state = data.states["state"][rows]
        lead = self._blur_lead(data.states["command"][rows] - state)
        chunk, known = self._chunks(rows)
        return StateBatch(
            text=self._text(np.array(sentences)),
            repeat=repeat,
            state=_tensor(np.concatenate([state, data.states["velocity"][rows], lead], 1)),
            imu=_tensor(data.states["imu"][rows]),
            item=_tensor(positions[span, named]),
            target=_tensor(positions[span, there]),
            start=_tensor(np.stack([start[span, named], start[span, there]], 1)),
            has_target=_tensor(target >= 0),
            chunk=_tensor(chunk),
            progress=_tensor(data.states["progress"][rows]),
            present=_tensor(present),
            imitate=_tensor(self._weights[rows]),
            known=known,
            by_reference=_tensor(np.array(by_reference)),
            looks=torch.tensor(
                np.array(
                    [
                        data.looks(int(episode), int(named[at]), int(target[at]))
                        for at, episode in zip(
                            range(0, len(rows), repeat), episodes[::repeat], strict=True
                        )
                    ]
                )
            ),
        )

    def _chunks(self, rows: np.ndarray) -> tuple[np.ndarray, Tensor | None]:
        """Return the chunks to learn from states, and how many rows of each are known."""
        states = self._data.states
        if not self._delay:
            return states["chunk"][rows], None
        episodes = states["episode"][rows]
        left = self._first[episodes] + self._count[episodes] - 1 - rows
        delays = draw_delays(self._rng, self._delay, left)
        return begun_chunks(states, rows, delays), torch.from_numpy(delays)

    def _sentence(self, episode: int) -> tuple[int, bool]:
        """Draw a sentence for an episode's task, and whether it names the object by reasoning."""
        meaning, rng = self._data.meaning(episode)[0], self._rng
        if rng.random() < SENTENCES_BY_REFERENCE:
            row = self._bank.draw_by_reference(rng, meaning)
            if row is not None:
                return row, True
        return self._bank.draw(rng, meaning), False

    def _blur_lead(self, lead: np.ndarray) -> np.ndarray:
        """Make the command's lead (B, n) as uncertain as a policy's memory of it."""
        rng = self._rng
        blurred = lead * (1 + LEAD_SCALE_NOISE * rng.standard_normal((len(lead), 1)))
        blurred += LEAD_NOISE_RAD * rng.standard_normal(lead.shape)
        known = rng.random((len(lead), 1)) >= LEAD_DROPOUT
        return np.asarray(blurred * known)

    def _text(self, rows: np.ndarray) -> TextBatch:
        bank = self._bank
        batch = _text_batch(bank.features, bank.masks, rows)
        return batch._replace(labels=torch.from_numpy(bank.labels[rows]))


def _text_batch(features: np.ndarray, masks: np.ndarray, rows: np.ndarray) -> TextBatch:
    longest = int(masks[rows].sum(1).max())  # padding costs as much as words
    return TextBatch(
        _tensor(features[rows, :longest]), _tensor(masks[rows, :longest]), torch.zeros(0)
    )


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()


def _pair(data: Demonstrations, what: str, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    front, wrist = (torch.from_numpy(data.images[f"{what}_{c}"][rows]) for c in CAMERAS)
    return front, wrist
