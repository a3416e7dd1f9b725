"""What frozen eyes see in every rendered state, and frozen readers read, computed once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from vla_ros.learning.batch_types import AskedBatch
from vla_ros.learning.batches import Batcher
from vla_ros.learning.grounding_losses import Matched, match
from vla_ros.policy.configuration import MODALITIES
from vla_ros.policy.grounding import SeenThings
from vla_ros.policy.model import Policy

#: Rendered states, and sentences, that are looked at together.
TOGETHER = 64
#: Of the file that keeps what was seen: by which eyes, in which images.
DIGEST = "digest"


class SeenScenes:
    """Regions of all rendered states, and what they are of."""

    def __init__(self, things: SeenThings, matched: Matched) -> None:
        """Keep what was seen of N states."""
        self._things, self._matched = things, matched

    @staticmethod
    @torch.no_grad()
    def look(policy: Policy, batcher: Batcher, *, depth: bool = True) -> SeenScenes:
        """Look at every rendered state of the demonstrations, with depth or without."""
        modes = {module: module.training for module in policy.modules()}
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
        for module, training in modes.items():
            module.training = training
        return SeenScenes(
            SeenThings(*(torch.cat(values) for values in zip(*seen, strict=True))),
            Matched(*(torch.cat(values) for values in zip(*of, strict=True))),
        )

    @staticmethod
    def look_once(policy: Policy, batcher: Batcher, cache: Path) -> list[SeenScenes]:
        """Return what is seen with depth, and without; from `cache`, if these eyes saw it before.

        Runs that start from the same eyes can share the file.
        """
        digest = _digest(policy, batcher)
        if cache.exists():
            device = str(next(policy.parameters()).device)
            with safe_open(cache, "pt", device=device) as file:
                if (file.metadata() or {}).get(DIGEST) == digest:
                    return [SeenScenes._read(file, name) for name in ("depth", "flat")]
        seen = [SeenScenes.look(policy, batcher, depth=depth) for depth in (True, False)]
        partial = cache.with_suffix(f".{os.getpid()}.partial")  # every process of a run looks
        tensors = seen[0]._named("depth") | seen[1]._named("flat")
        save_file(tensors, partial, metadata={DIGEST: digest})
        partial.rename(cache)
        return seen

    def _named(self, name: str) -> dict[str, Tensor]:
        fields = {**self._things._asdict(), **self._matched._asdict()}
        return {f"{name}.{key}": value.contiguous() for key, value in fields.items()}

    @staticmethod
    def _read(file: safe_open, name: str) -> SeenScenes:
        def read(key: str) -> Tensor:
            value: Tensor = file.get_tensor(f"{name}.{key}")  # type: ignore[no-untyped-call]
            return value

        things, matched = map(read, SeenThings._fields), map(read, Matched._fields)
        return SeenScenes(SeenThings(*things), Matched(*matched))

    def at(self, chosen: np.ndarray) -> tuple[SeenThings, Matched]:
        """Return what was seen of some states."""
        rows = torch.from_numpy(chosen)
        return (
            SeenThings(*(value[rows] for value in self._things)),
            Matched(*(value[rows] for value in self._matched)),
        )


def _digest(policy: Policy, batcher: Batcher) -> str:
    """Return what tells eyes and images from others."""
    digest = hashlib.sha256(batcher.image_digest().encode())
    for part in (policy.vision, policy.regions):
        for name, value in part.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


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
