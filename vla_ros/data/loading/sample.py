"""What a training sample holds, and which of it is asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_ros.contract import DEPTHS, IMAGES, IMU
from vla_ros.core.errors import UserError

COMMAND, TASK = "observation.command", "task"
WEIGHT, ACTOR, STAMP = "weight", "actor", "stamp_ns"
#: Where a sample is: number of the episode, and of the frame in it.
EPISODE, FRAME = "episode", "frame"
#: Values of `actor`, by who moved the robot.
ACTORS = {"": 0, "policy": 1, "operator": 2}

#: What is added to a feature's name to say where in a batch it is missing, and where a chunk goes
#: on after the end of its episode.
MISSING, PADDED = "_is_missing", "action_is_pad"

Array = NDArray[Any]
#: Features by name, those of LeRobot; `task` is a text, everything else an array.
Sample = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked for of every sample; nothing else is decoded.

    Attributes:
        cameras: Names, such as `front`; None for all.
        depth: Whether their depth is.
        imu: Whether the window of the IMU is.
        horizon: Rows of the chunk of actions that follow.
        step_s: Time between two of them [s]; None for the time between two frames.
        intervention_weight: What an operator's correction counts, against 1 of a demonstration.
    """

    cameras: tuple[str, ...] | None = None
    depth: bool = True
    imu: bool = True
    horizon: int = 16
    step_s: float | None = None
    intervention_weight: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: naming what is wrong.
        """
        if self.horizon < 1:
            raise UserError(f"horizon is {self.horizon}; expected 1 or more")
        if self.step_s is not None and not (math.isfinite(self.step_s) and self.step_s > 0):
            raise UserError(f"step_s is {self.step_s}; expected more than 0")
        weight = self.intervention_weight
        if not (math.isfinite(weight) and weight >= 0):
            raise UserError(f"intervention_weight is {weight}; expected 0 or more")

    def wants(self, feature: str) -> bool:
        """Whether a feature of an observation is asked for."""
        for prefix in (IMAGES, DEPTHS):
            if feature.startswith(prefix):
                camera = feature.removeprefix(prefix).lstrip(".")
                wanted = self.cameras is None or camera in self.cameras
                return wanted and (prefix == IMAGES or self.depth)
        return self.imu or feature != IMU


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A feature of an observation that a sample may lack: shape and type of one sample's."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """What it takes [bytes]."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def nothing(self) -> Array:
        """Return what stands for it where it is missing."""
        return np.zeros(self.shape, self.dtype)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Joints:
    """Joints of an episode of F frames.

    Attributes:
        stamps: Of the frames [ns], (F,).
        state: Positions [rad], (F, n).
        command: In force [rad], (F, n); NaN where it is not known.
    """

    stamps: Array
    state: Array
    command: Array


class SampleReader(Protocol):
    """Episodes whose samples can be read in any order."""

    @property
    def features(self) -> Mapping[str, Feature]:
        """What of an observation is asked for, and may be missing in a sample."""

    @property
    def lengths(self) -> Sequence[int]:
        """Samples of each episode."""

    def read(self, episode: int, first: int, stop: int) -> list[Sample]:
        """Return the samples of some frames of an episode that follow one another."""


class SampleSource(SampleReader, Protocol):
    """Episodes that training learns from: it wants to know more than samples beforehand."""

    @property
    def weights(self) -> Sequence[Array]:
        """What each sample of each episode counts, (N,) each."""

    def joints(self, episode: int) -> Joints:
        """Return where the joints were in all frames of an episode, and where they were sent."""

    def tasks(self, episode: int) -> list[str]:
        """Return the instruction of each sample of an episode."""


def sample_weights(actors: Array, intervention_weight: float) -> NDArray[np.float32]:
    """Return what each sample of an episode counts in imitation, (N,).

    Without an operator in it, or without a policy, an episode is a demonstration and counts 1
    throughout. Where an operator took over from a policy, what they did counts
    `intervention_weight`, and what the policy did is not imitated: 0.

    Args:
        actors: Of each sample of one whole episode, one of `ACTORS.values()`, (N,).
        intervention_weight: Of corrections.
    """
    policy, operator = (actors == ACTORS[name] for name in ("policy", "operator"))
    if not (policy.any() and operator.any()):
        return np.ones(len(actors), np.float32)
    weights = np.ones(len(actors), np.float32)
    weights[policy], weights[operator] = 0.0, intervention_weight
    return weights


def stack(samples: Sequence[Sample], features: Mapping[str, Feature]) -> Sample:
    """Return samples as a batch: arrays (B, ...), and texts as a list.

    What a sample lacks is 0 in the batch, and said to be missing: `<feature>_is_missing` (B,).

    Args:
        samples: B of them.
        features: What they may lack, and what it would have been.

    Raises:
        UserError: if they have a feature in several sizes; names it.
    """
    batch: Sample = {}
    for name in dict.fromkeys((*samples[0], *features)):
        values: list[Any] = [sample.get(name) for sample in samples]
        if isinstance(values[0], str):
            batch[name] = values
            continue
        if name in features:
            batch[name + MISSING] = np.array([each is None for each in values])
            values = [features[name].nothing() if each is None else each for each in values]
        try:
            batch[name] = np.stack(values)
        except ValueError as error:
            sizes = sorted({np.shape(each) for each in values})
            raise UserError(f"{name}: has several sizes, {sizes}; load them apart") from error
    return batch
