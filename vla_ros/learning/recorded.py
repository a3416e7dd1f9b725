"""Imitation of recorded episodes: images, joints and words go in as at run time, chunks come out.

What only a simulator knows (where things are, which regions they are, how far the task has come)
is not in a recording, and trains nothing there: the one term is how far the chunk is from what
was commanded. Eyes and words learn from it through the points that the chunk is decided from.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vla_ros.contract import DEPTHS, IMAGES, IMU, RobotContract, load_contract
from vla_ros.contract.difference import differences
from vla_ros.core.errors import InstructionRejected, UserError
from vla_ros.core.types import Observation
from vla_ros.data.loading.batches import SampleDataset
from vla_ros.data.loading.joined import JoinedSamples, contracts_of, open_samples
from vla_ros.data.loading.sample import (
    ACTOR,
    EPISODE,
    FRAME,
    MISSING,
    WEIGHT,
    Asked,
    Sample,
    stack,
)
from vla_ros.data.loading.shuffling import BlockShuffle
from vla_ros.engine.joint_history import JointHistory
from vla_ros.engine.language import LanguageEncoder
from vla_ros.learning.actors import Actor
from vla_ros.learning.batch_types import moved
from vla_ros.learning.batches import DROPOUT
from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.observation.images import without_holes
from vla_ros.policy.configuration import CAMERAS, MODALITIES, PolicyConfig

#: Views of the beginnings of episodes that are kept.
KEPT_BEGINNINGS = 256
#: Frames before one that its velocity is told from; those that `JointHistory` keeps.
HISTORY = 8
#: States that statistics are taken of, at most.
MEASURED = 20_000


class View(NamedTuple):
    """What the policy sees of B states: as `Inputs`, without what the words say."""

    rgb: tuple[Tensor, Tensor]
    depth: tuple[Tensor, Tensor]
    imu: Tensor
    state: Tensor
    present: Tensor


class RecordedBatch(NamedTuple):
    """B recorded states.

    `words` (B, L, F) and `mask` (B, L) are the instructions; `beginning` is what was seen when
    each was given; `chunk` (B, H, n) [rad] is what was commanded next; `weight` (B,) is what
    imitating it counts.
    """

    words: Tensor
    mask: Tensor
    beginning: View
    now: View
    chunk: Tensor
    weight: Tensor


class Recordings:
    """Recorded episodes that a policy trains on; draws batches in an order that a seed decides."""

    def __init__(self, config: TrainingConfig, policy: PolicyConfig) -> None:
        """Index the recordings; what is known of them is kept in the run's folder.

        Raises:
            UserError: if there is none, or it does not fit the policy; names it.
        """
        contract = load_contract(config.contract)
        _require_contract(config.recordings, contract)
        asked = Asked(
            cameras=CAMERAS,
            horizon=policy.horizon,
            step_s=policy.step_s,
            intervention_weight=config.intervention_weight,
        )
        self._folders, self._cache = config.recordings, config.output / "recorded-index"
        self._source = open_samples(self._folders, asked, cache=self._cache)
        self._policy, self._language = policy, LanguageEncoder(config.language)
        _require_sizes(self._source, policy)
        self._tasks = [self._source.tasks(index) for index in range(len(self._source.lengths))]
        self._beginnings: OrderedDict[tuple[int, int], Sample] = OrderedDict()
        if not any(weights.any() for weights in self._source.weights):
            raise UserError(
                f"{', '.join(map(str, config.recordings))}: hold nothing to imitate: whatever an "
                "operator did counts 0; give another --intervention-weight"
            )

    @property
    def samples(self) -> int:
        """How many there are."""
        return sum(self._source.lengths)

    def batches(
        self, size: int, seed: Sequence[int], device: torch.device
    ) -> Iterator[RecordedBatch]:
        """Yield batches without end; samples that count nothing are passed over.

        Args:
            size: Samples of each.
            seed: Of their order, and of which modality is missing where.
            device: Where they are wanted.
        """
        rng = np.random.default_rng(list(seed))
        dataset = SampleDataset(self._source)
        order = BlockShuffle(
            self._source.lengths, 1, block=dataset.block, seed=int(rng.integers(2**31))
        )
        waiting: list[Sample] = []
        while True:
            for (index,) in order:
                sample = dataset[index]
                if sample[WEIGHT] > 0:
                    waiting.append(sample)
                if len(waiting) == size:
                    yield moved(self._batch(waiting, rng), device)
                    waiting = []

    def measured(self) -> Demonstrations:
        """Return states to take statistics of, in the form of collected ones; nothing else."""
        wanted = np.linspace(0, self.samples - 1, min(self.samples, MEASURED)).astype(int)
        bare = Asked(cameras=(), horizon=self._policy.horizon, step_s=self._policy.step_s)
        dataset = SampleDataset(open_samples(self._folders, bare, cache=self._cache))
        rows: list[dict[str, Any]] = []
        for index in np.unique(wanted).tolist():
            sample = dataset[index]
            if IMU in sample and sample[WEIGHT] > 0:
                told = self._told(sample)
                n = self._policy.n_joints
                rows.append(
                    {
                        "state": told[:n],
                        "velocity": told[n : 2 * n],
                        "command": told[:n] + told[2 * n :],
                        "imu": sample[IMU],
                        "chunk": sample["action"],
                    }
                )
        if not rows:
            raise UserError("no recorded state has a window of the IMU, which the policy reads")
        states = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        states["episode"] = np.zeros(len(rows), np.int32)
        states[ACTOR] = np.full(len(rows), Actor.DEMONSTRATOR, np.int8)
        return Demonstrations(
            meta={"imitate": np.array([True]), "skill": np.zeros(1, np.int8)},
            states=states,
            images={},
        )

    def _batch(self, samples: Sequence[Sample], rng: np.random.Generator) -> RecordedBatch:
        words = [self._encode(sample["task"]) for sample in samples]
        beginnings = [self._beginning(int(s[EPISODE]), int(s[FRAME])) for s in samples]
        return RecordedBatch(
            words=torch.from_numpy(np.stack([features for features, _ in words])).float(),
            mask=torch.from_numpy(np.stack([mask for _, mask in words])).float(),
            beginning=self._view(beginnings, None),
            now=self._view(samples, rng),
            chunk=torch.from_numpy(np.stack([sample["action"] for sample in samples])).float(),
            weight=torch.from_numpy(np.array([sample[WEIGHT] for sample in samples])).float(),
        )

    def _view(self, samples: Sequence[Sample], rng: np.random.Generator | None) -> View:
        """Return what is seen in samples; with `rng`, some of it is lost."""
        batch = stack(samples, self._source.features)
        missing = {name: batch.get(name + MISSING) for name in self._source.features}
        present = np.zeros((len(samples), len(MODALITIES)), np.float32)
        for index, name in enumerate(_modalities()):
            gone = missing.get(name)
            present[:, index] = 0.0 if gone is None else ~gone
        present[:, 2:4] *= present[:, :2]  # depth is read with its image
        if rng is not None:
            kept = present * (rng.random(present.shape) >= np.array(DROPOUT))
            blind = ~kept[:, :2].any(1)
            kept[blind, :2] = present[blind, :2]
            present = kept.astype(np.float32)
        state = np.stack([self._told(sample) for sample in samples])
        window = (len(samples), self._policy.imu_window, 6)
        pairs = {
            kind: tuple(self._camera(batch, kind, camera, len(samples)) for camera in CAMERAS)
            for kind in (IMAGES, DEPTHS)
        }
        return View(
            rgb=pairs[IMAGES],  # type: ignore[arg-type]
            depth=pairs[DEPTHS],  # type: ignore[arg-type]
            imu=torch.from_numpy(batch.get(IMU, np.zeros(window, np.float32))).float(),
            state=torch.from_numpy(state),
            present=torch.from_numpy(present),
        )

    def _camera(self, batch: Sample, kind: str, camera: str, count: int) -> Tensor:
        """Return images or depth of a camera; zeros for one that nobody recorded."""
        size = self._policy.cameras[camera]
        found = batch.get(f"{kind}{camera}")
        if kind == IMAGES:
            empty = (count, size.height, size.width, 3)
            return torch.from_numpy(np.zeros(empty, np.uint8) if found is None else found)
        metres = np.zeros((count, size.height, size.width), np.float32)
        return torch.from_numpy(metres if found is None else without_holes(found, None))

    def _told(self, sample: Sample) -> np.ndarray:
        """Return what the running policy would be told of the joints (3 n,)."""
        joints, frame = self._source.joints(int(sample[EPISODE])), int(sample[FRAME])
        history = JointHistory(self._policy.n_joints)
        for at in range(max(0, frame - HISTORY), frame + 1):
            command = joints.command[at]
            told = history.read(
                Observation(
                    stamp_ns=int(joints.stamps[at]),
                    state=joints.state[at],
                    command=command if np.isfinite(command).all() else None,
                )
            )
        return np.asarray(told[0])

    def _beginning(self, episode: int, frame: int) -> Sample:
        """Return the first sample with the instruction that a frame has."""
        tasks = self._tasks[episode]
        first = frame
        while first > 0 and tasks[first - 1] == tasks[frame]:
            first -= 1
        key = (episode, first)
        if key not in self._beginnings:
            while len(self._beginnings) >= KEPT_BEGINNINGS:
                self._beginnings.popitem(last=False)
            self._beginnings[key] = self._source.read(episode, first, first + 1)[0]
        self._beginnings.move_to_end(key)
        return self._beginnings[key]

    def _encode(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        try:
            tokens = self._language.encode(text)
        except InstructionRejected as error:
            raise UserError(
                f"the instruction {text!r} of a recorded episode cannot be trained: {error}; "
                "rename it, or leave the episode out"
            ) from error
        return tokens.features, tokens.mask


def _modalities() -> tuple[str, ...]:
    """Return the features of `MODALITIES`, in that order."""
    images = tuple(f"{IMAGES}{camera}" for camera in CAMERAS)
    return (*images, *(f"{DEPTHS}{camera}" for camera in CAMERAS), IMU)


def _require_contract(folders: Sequence[Path], contract: RobotContract) -> None:
    """Refuse recordings of another robot.

    Raises:
        UserError: naming the folder, and every difference.
    """
    for folder in folders:
        for recorded in contracts_of(folder):
            wrong = [str(each) for each in differences(contract, recorded) if each.breaking]
            if wrong:
                raise UserError(
                    f"{folder}: was recorded with another robot than '{contract.name}' (here and "
                    f"there): {'; '.join(wrong)}. Name that robot's contract with --contract, or "
                    "leave the recordings out"
                )


def _require_sizes(source: JoinedSamples, policy: PolicyConfig) -> None:
    n = source.joints(0).state.shape[1]
    if n != policy.n_joints:
        raise UserError(f"the policy moves {policy.n_joints} joints, and recorded are {n}")
    for camera in CAMERAS:
        size, found = policy.cameras[camera], source.features.get(f"{IMAGES}{camera}")
        if found is not None and found.shape[:2] != (size.height, size.width):
            raise UserError(
                f"{IMAGES}{camera}: the policy reads {size.width}x{size.height} px, and recorded "
                f"are {found.shape[1]}x{found.shape[0]} px"
            )
    if f"{IMAGES}front" not in source.features:
        raise UserError(f"{IMAGES}front: is not recorded, and the policy looks for things in it")
