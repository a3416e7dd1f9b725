"""How to train, and which of it a run that goes on may not change."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vla_ros.core.errors import UserError
from vla_ros.learning.process_group import DEVICES
from vla_ros.learning.provenance import differences, language_sha256, policy_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """Weights of what trains the grounding; 0 leaves an objective out.

    Attributes:
        pointing: Which region is meant.
        matching: Whether words and scene belong together (ViLBERT, LXMERT).
        contrast: Symmetric contrast of phrases and regions over the batch (CLIP).
        masked: What a hidden region looks like, from words and the other regions.
    """

    pointing: float
    matching: float
    contrast: float
    masked: float


#: A run may go on with other ones; files are compared by their hashes, not by where they are.
_CHANGEABLE = ("steps", "checkpoint_every", "output", "language", "device", "threads")
#: Parts of the policy that adapters adapt.
LORA_TARGETS = ("fusion", "language", "grounder")
#: What a step draws, which the processes of a run share.
ROWS = ("texts", "images", "episodes", "recorded")


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
        texts: Sentences per step that train the reading of sentences by itself.
        sentences_per_image: Sentences about each rendered state.
        episodes: Episodes that bare states are drawn from per step; 0 trains the eyes alone.
        states_per_episode: Bare states per drawn episode.
        sentences: Size of the bank of sentences.
        learning_rate: At its peak; warm-up, then cosine to a twentieth.
        average: Decay of the weights' running average, which is what is kept.
        seed: Of everything.
        checkpoint_every: Steps between checkpoints.
        start: Checkpoint or bundle to take weights from, for a further round.
        questions: Questions about every rendered state.
        pointing: Weight of saying which region is meant; 0 leaves it out, as for the next three.
        matching: Weight of saying whether words and scene belong together.
        contrast: Weight of the symmetric contrast of phrases and regions.
        masked: Weight of guessing what a hidden region looks like.
        freeze: Parts of the policy that stay as they are, such as `vision` or `grounder.read`.
        anew: Beginnings of the names of parameters that begin anew although `start` has them.
        start_partly: Take what fits of `start` although not all does; the rest begins anew.
        contract: Of the robot that the policy is for: a name, or a YAML file.
        processes: That train together, each on its share of every batch.
        device: What they compute on, one of `process_group.DEVICES`.
        threads: Of torch, in each process; 0 divides all cores among them.
        lora_rank: Rank of the adapters that alone are trained of the policy; 0 trains all of it.
        lora_targets: Parts of the policy that they adapt.
        teacher: Bundle or checkpoint whose answers are learned beside the demonstrations.
        teaching: Weight of those answers, against 1 of the demonstrations.
        intervention_weight: Of what an operator did who took over from a policy, against 1 of
            ordinary demonstrations.
        recordings: Folders of recorded episodes, and LeRobotDatasets, that are imitated as well,
            or alone.
        recorded: Recorded states per step.
    """

    data: tuple[Path, ...]
    output: Path
    language: Path
    steps: int = 12000
    texts: int = 160
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
    questions: int = 3
    pointing: float = 1.0
    matching: float = 0.2
    contrast: float = 0.3
    masked: float = 0.1
    freeze: tuple[str, ...] = ()
    anew: tuple[str, ...] = ()
    start_partly: bool = False
    contract: str = "tabletop_sim"
    processes: int = 1
    device: str = "auto"
    threads: int = 0
    lora_rank: int = 0
    lora_targets: tuple[str, ...] = LORA_TARGETS
    teacher: Path | None = None
    teaching: float = 1.0
    intervention_weight: float = 1.0
    recordings: tuple[Path, ...] = ()
    recorded: int = 16

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: naming the setting.
        """
        for name in (
            "steps",
            "texts",
            "processes",
            "sentences_per_image",
            "states_per_episode",
            "sentences",
            "checkpoint_every",
            "questions",
            "recorded",
        ):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; expected 1 or more")
        drawn = self.images or self.episodes
        if min(self.images, self.episodes) < 0 or not (drawn or self.recordings):
            raise UserError(
                f"images is {self.images} and episodes {self.episodes}; expected 0 or more, and "
                "one of them above 0"
            )
        if drawn and not self.data:
            raise UserError(
                f"images is {self.images} and episodes {self.episodes}, but there is no data to "
                "draw them from; give --data, or 0 of both to train from recordings alone"
            )
        for name in ROWS:
            if 0 < getattr(self, name) < self.processes:
                raise UserError(
                    f"{name} is {getattr(self, name)} and processes is {self.processes}; expected "
                    "one or more for each process"
                )
        if self.device not in DEVICES:
            raise UserError(f"device {self.device!r} is none; choose {' or '.join(DEVICES)}")
        if self.threads < 0:
            raise UserError(f"threads is {self.threads}; expected 0 or more")
        if not 0.0 <= self.average < 1.0:
            raise UserError(f"average is {self.average}; expected 0 or more, and less than 1")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0.0):
            raise UserError(f"learning_rate is {self.learning_rate}; expected more than 0")
        for name in ("start", "teacher"):
            file = getattr(self, name)
            if file is not None and not file.exists():
                raise UserError(
                    f"{file}: no such file; --{name} takes a checkpoint.pt or a bundle's folder"
                )
        for name in ("pointing", "matching", "contrast", "masked"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0.0):
                raise UserError(f"{name} is {getattr(self, name)}; expected 0 or more")
        self._check_efficiency()

    def _check_efficiency(self) -> None:
        if self.lora_rank < 0:
            raise UserError(f"lora_rank is {self.lora_rank}; expected 0 or more")
        if self.lora_rank and (self.start is None or not self.lora_targets):
            lacking = "lora_targets" if self.start is not None else "start"
            raise UserError(
                f"lora_rank is {self.lora_rank} and {lacking} names nothing; adapters adapt parts "
                "of a trained policy: give --start, and parts such as fusion"
            )
        if not (math.isfinite(self.teaching) and self.teaching > 0.0):
            raise UserError(f"teaching is {self.teaching}; expected more than 0")
        if not (math.isfinite(self.intervention_weight) and self.intervention_weight >= 0.0):
            raise UserError(
                f"intervention_weight is {self.intervention_weight}; expected 0 or more"
            )

    @property
    def objectives(self) -> Objectives:
        """What trains the grounding."""
        return Objectives(
            pointing=self.pointing,
            matching=self.matching,
            contrast=self.contrast,
            masked=self.masked,
        )

    def shared(self, share: Callable[[int], int]) -> TrainingConfig:
        """Return the configuration with one process's share of what a step draws."""
        shares: dict[str, Any] = {name: share(getattr(self, name)) for name in ROWS}
        return replace(self, processes=1, **shares)

    def settings(self) -> dict[str, Any]:
        """Return the settings as plain values, with the hashes of the files that they name."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return {
            **plain,
            **language_sha256(self.language),
            "start_sha256": None if self.start is None else policy_sha256(self.start),
            "teacher_sha256": None if self.teacher is None else policy_sha256(self.teacher),
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
