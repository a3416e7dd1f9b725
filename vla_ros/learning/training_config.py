"""How to train, and which of it a run that goes on may not change."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vla_ros.core.errors import UserError
from vla_ros.learning.provenance import differences, language_sha256, policy_sha256

#: A run may go on with other ones; files are compared by their hashes, not by where they are.
_CHANGEABLE = ("steps", "checkpoint_every", "output", "language")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How to train.

    Attributes:
        data: Directories of shards.
        eyes_only: Directories of shards whose images train the eyes alone.
        output: Where checkpoints and the loss log go.
        language: Directory of the language encoder.
        steps: Optimizer steps in all.
        images: Rendered states per step; 0 trains on bare states alone.
        sentences_per_image: Sentences about each rendered state.
        episodes: Episodes that bare states are drawn from per step; 0 trains the eyes alone.
        states_per_episode: Bare states per drawn episode.
        sentences: Size of the bank of sentences.
        learning_rate: At its peak; warm-up, then cosine to a twentieth.
        average: Decay of the weights' running average, which is what is kept.
        seed: Of everything.
        checkpoint_every: Steps between checkpoints.
        start: Checkpoint or bundle to take weights from, for a further round.
    """

    data: tuple[Path, ...]
    output: Path
    language: Path
    steps: int = 12000
    images: int = 40
    sentences_per_image: int = 3
    episodes: int = 48
    states_per_episode: int = 8
    sentences: int = 40000
    learning_rate: float = 1e-3
    average: float = 0.998
    seed: int = 0
    checkpoint_every: int = 500
    start: Path | None = None
    eyes_only: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: naming the setting.
        """
        for name in (
            "steps",
            "sentences_per_image",
            "states_per_episode",
            "sentences",
            "checkpoint_every",
        ):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if min(self.images, self.episodes) < 0 or not (self.images or self.episodes):
            raise UserError(
                f"images is {self.images} and episodes {self.episodes}; expected 0 or more, and "
                "one of them above 0"
            )
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0.0):
            raise UserError(f"learning_rate is {self.learning_rate}; expected more than 0")
        if self.start is not None and not self.start.exists():
            raise UserError(
                f"{self.start}: no such file; --start takes a checkpoint.pt or a bundle's folder"
            )

    def settings(self) -> dict[str, Any]:
        """Return the settings as plain values, with the hashes of the files that they name."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return {
            **plain,
            **language_sha256(self.language),
            "start_sha256": None if self.start is None else policy_sha256(self.start),
        }


def require_same_settings(before: dict[str, Any], now: dict[str, Any], checkpoint: Path) -> None:
    """Refuse to go on from a checkpoint with other settings than it was written with.

    Raises:
        UserError: naming each setting that differs.
    """
    compared = {key: value for key, value in now.items() if key not in _CHANGEABLE}
    different = differences(before, compared)
    if different:
        raise UserError(
            f"{checkpoint}: was trained with other settings: {'; '.join(different)}. "
            "Give the same ones to go on, or another --output to begin a new run; "
            f"`--start {checkpoint}` takes its weights"
        )
