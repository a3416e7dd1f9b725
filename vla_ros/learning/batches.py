"""Training batches: rendered states for the eyes, bare states for the hand."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.texts import TextBank
from vla_ros.policy.configuration import CAMERAS, MODALITIES

#: Probability that a modality is missing from a training sample, in the order of MODALITIES.
DROPOUT = (0.04, 0.06, 0.08, 0.08, 0.1)
#: How far a policy's memory of the command is off, and how often it has none.
LEAD_SCALE_NOISE, LEAD_NOISE_RAD, LEAD_DROPOUT = 0.15, 0.003, 0.05


class TextBatch(NamedTuple):
    """Token features (B, L, F), mask (B, L) and auxiliary classes (B, 6)."""

    tokens: Tensor
    mask: Tensor
    labels: Tensor


class StateBatch(NamedTuple):
    """States with the expert's answer.

    `item`, `target` are true positions (B, 3) [m]; `start` (B, 2, 3) [m] those at the beginning;
    `has_target` (B,). `imitate` (B,) is 1 where the chunk is to be imitated. `text` holds a
    sentence for every `repeat` rows.
    """

    text: TextBatch
    repeat: int
    state: Tensor
    imu: Tensor
    item: Tensor
    target: Tensor
    start: Tensor
    has_target: Tensor
    chunk: Tensor
    progress: Tensor
    present: Tensor
    imitate: Tensor


class ImageBatch(NamedTuple):
    """Rendered states; `queries` holds Q sentences per image, the episode's own first.

    `things` (B, Q, 2, 3) [m] are true positions of object and target of each sentence in the base
    frame, `exists` (B, Q, 2) whether there is one, `slack` (B, Q, 2) [m] how far its surface
    stands before its centre. `pose` per camera is the true T_base_optical (B, 4, 4).
    """

    state: StateBatch
    queries: TextBatch
    per_image: int
    rgb: tuple[Tensor, Tensor]
    depth: tuple[Tensor, Tensor]
    pose: tuple[Tensor, Tensor]
    things: Tensor
    exists: Tensor
    slack: Tensor


class Batcher:
    """Draws batches; one seed gives one sequence of batches."""

    def __init__(self, data: Demonstrations, bank: TextBank, rng: Generator) -> None:
        """Prepare to draw from the data with the bank's sentences."""
        self._data, self._bank, self._rng = data, bank, rng
        episodes = data.states["episode"]
        self._first = np.searchsorted(episodes, np.arange(len(data.meta["skill"])))
        self._count = np.bincount(episodes, minlength=len(self._first))
        self._imitated = np.flatnonzero(data.meta["imitate"])

    def texts(self, count: int) -> TextBatch:
        """Draw sentences of any meaning."""
        return self._text(self._rng.integers(len(self._bank), size=count))

    def states(self, episodes: int, repeat: int) -> StateBatch:
        """Draw `repeat` states of each of some episodes."""
        chosen = self._rng.choice(self._imitated, size=episodes)
        rows = self._first[chosen, None] + (
            self._rng.random((episodes, repeat)) * self._count[chosen, None]
        ).astype(np.int64)
        return self._gather(rows.ravel(), repeat)

    def images(self, count: int, per_image: int) -> ImageBatch:
        """Draw rendered states, with `per_image` sentences about each."""
        data, rng = self._data, self._rng
        chosen = np.sort(rng.integers(len(data.images["row"]), size=count))
        rows = data.images["row"][chosen]
        state = self._gather(rows, 1)
        texts, things, exists, slack = [], [], [], []
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
        shape = (count, per_image, 2)
        front, wrist = _pair(data, "depth", chosen)
        return ImageBatch(
            state=state,
            queries=self._text(np.array(texts)),
            per_image=per_image,
            rgb=_pair(data, "rgb", chosen),
            depth=(front.float() / 1000.0, wrist.float() / 1000.0),
            pose=_pair(data, "pose", chosen),
            things=torch.tensor(np.array(things), dtype=torch.float32).view(*shape, 3),
            exists=torch.tensor(exists).view(shape),
            slack=torch.tensor(np.array(slack), dtype=torch.float32).view(shape),
        )

    def _gather(self, rows: np.ndarray, repeat: int) -> StateBatch:
        data = self._data
        episodes = data.states["episode"][rows]
        sentences = [
            self._bank.draw(self._rng, data.meaning(int(episode))[0])
            for episode in episodes[::repeat]
        ]
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
        return StateBatch(
            text=self._text(np.array(sentences)),
            repeat=repeat,
            state=_tensor(np.concatenate([state, data.states["velocity"][rows], lead], 1)),
            imu=_tensor(data.states["imu"][rows]),
            item=_tensor(positions[span, named]),
            target=_tensor(positions[span, there]),
            start=_tensor(np.stack([start[span, named], start[span, there]], 1)),
            has_target=_tensor(target >= 0),
            chunk=_tensor(data.states["chunk"][rows]),
            progress=_tensor(data.states["progress"][rows]),
            present=_tensor(present),
            imitate=_tensor(data.meta["imitate"][episodes]),
        )

    def _blur_lead(self, lead: np.ndarray) -> np.ndarray:
        """Make the command's lead (B, n) as uncertain as a policy's memory of it."""
        rng = self._rng
        blurred = lead * (1 + LEAD_SCALE_NOISE * rng.standard_normal((len(lead), 1)))
        blurred += LEAD_NOISE_RAD * rng.standard_normal(lead.shape)
        known = rng.random((len(lead), 1)) >= LEAD_DROPOUT
        return np.asarray(blurred * known)

    def _text(self, rows: np.ndarray) -> TextBatch:
        bank = self._bank
        masks = bank.masks[rows]
        longest = int(masks.sum(1).max())  # padding costs as much as words
        return TextBatch(
            _tensor(bank.features[rows, :longest]),
            _tensor(masks[:, :longest]),
            torch.from_numpy(bank.labels[rows]),
        )


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()


def _pair(data: Demonstrations, what: str, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    front, wrist = (torch.from_numpy(data.images[f"{what}_{c}"][rows]) for c in CAMERAS)
    return front, wrist
