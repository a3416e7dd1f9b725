"""What frozen eyes see in every rendered state, and frozen readers read, computed once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vla_ros.learning.batches import AskedBatch, Batcher
from vla_ros.learning.grounding_losses import Matched, match
from vla_ros.policy.configuration import MODALITIES
from vla_ros.policy.grounding import SeenThings
from vla_ros.policy.model import Policy

#: Rendered states, and sentences, that are looked at together.
TOGETHER = 64


class SeenScenes:
    """Regions of all rendered states, and what they are of."""

    def __init__(self, things: SeenThings, matched: Matched) -> None:
        """Keep what was seen of N states."""
        self._things, self._matched = things, matched

    @staticmethod
    @torch.no_grad()
    def look(policy: Policy, batcher: Batcher, *, depth: bool = True) -> SeenScenes:
        """Look at every rendered state of the demonstrations, with depth or without."""
        was_training = policy.training
        policy.eval()
        seen, of = [], []
        count = batcher.image_count
        for first in range(0, count, TOGETHER):
            chosen = np.arange(first, min(first + TOGETHER, count))
            batch = batcher.images_at(chosen, per_image=1)
            present = torch.ones_like(batch.state.present)
            present[:, MODALITIES.index("depth_front")] = float(depth)
            things = policy.scan(batch.rgb[0], batch.depth[0], present)
            seen.append(things)
            of.append(match(policy, batch, things))
        policy.train(was_training)
        return SeenScenes(
            SeenThings(*(torch.cat(values) for values in zip(*seen, strict=True))),
            Matched(*(torch.cat(values) for values in zip(*of, strict=True))),
        )

    def at(self, chosen: np.ndarray) -> tuple[SeenThings, Matched]:
        """Return what was seen of some states."""
        rows = torch.from_numpy(chosen)
        return (
            SeenThings(*(value[rows] for value in self._things)),
            Matched(*(value[rows] for value in self._matched)),
        )


@torch.no_grad()
def read_questions(policy: Policy, batcher: Batcher) -> Tensor:
    """Return the question slots of all sentences about rendered states (N, Q, S, W)."""
    reader = policy.grounder.read
    reader.eval()
    slots = []
    for first in range(0, batcher.image_count, TOGETHER):
        asked: AskedBatch = batcher.asked(
            np.arange(first, min(first + TOGETHER, batcher.image_count))
        )
        read: Tensor = reader(asked.text.tokens, asked.text.mask)
        slots.append(read.view(*asked.present.shape, *read.shape[1:]))
    return torch.cat(slots)
