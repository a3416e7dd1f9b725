"""Train a policy from demonstrations: resumable, seeded, with its losses on file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vla_ros.core.errors import UserError
from vla_ros.learning.batches import Batcher, ImageBatch, StateBatch
from vla_ros.learning.checkpoints import read_checkpoint, warm_start
from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.imagined import imagine_anchor, imagine_points
from vla_ros.learning.objectives import SlotClassifier, action_loss, in_view, sighting_loss
from vla_ros.learning.texts import TextBank
from vla_ros.policy.configuration import CAMERAS, PolicyConfig
from vla_ros.policy.model import Inputs, Points, Policy

ORDINARY = (0.5, 99.5)  # percentiles between which a command's lead is no outlier
TEXTS = 160  # sentences per step that train the reading of sentences by itself


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
        start: Checkpoint to take weights from, for a further round.
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


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the last checkpoint is kept."""


class Trainer:
    """Owns the networks, the optimizer and the data of one run."""

    def __init__(self, config: TrainingConfig, policy_config: PolicyConfig) -> None:
        """Load data, build or restore the networks."""
        torch.manual_seed(config.seed)
        self.config = config
        config.output.mkdir(parents=True, exist_ok=True)
        self.data = Demonstrations.load(config.data, config.eyes_only)
        self.bank = TextBank.build(
            config.language, config.sentences, cache=config.output / "sentences.npz"
        )
        self.policy = Policy(policy_config)
        # a quarter faster on CPUs
        self.policy.vision.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.classifier = SlotClassifier(policy_config.width)
        self.networks = nn.ModuleDict({"policy": self.policy, "classifier": self.classifier})
        self.step = 0
        self.fresh: list[str] = []
        self._set_statistics()
        if config.start is not None:
            self.fresh = warm_start(self.networks, read_checkpoint(config.start)["average"])
        self.average = {k: v.clone() for k, v in self.networks.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            self.networks.parameters(),
            lr=config.learning_rate,
            weight_decay=0.01,
            betas=(0.9, 0.98),
        )
        if self.checkpoint_path.exists():
            self._restore()
        self.batcher = Batcher(
            self.data, self.bank, np.random.default_rng((config.seed, self.step))
        )

    @property
    def checkpoint_path(self) -> Path:
        """Where the run's last state is kept."""
        return self.config.output / "checkpoint.pt"

    def run(self) -> Iterator[dict[str, float]]:
        """Train to the end; yield the losses of every step, after it is logged and saved."""
        log = (self.config.output / "losses.jsonl").open("a")
        with log:
            while self.step < self.config.steps:
                losses = self._advance()
                if self.step % 20 == 0:
                    log.write(json.dumps({"step": self.step, **losses}) + "\n")
                    log.flush()
                if self.step % self.config.checkpoint_every == 0 or (
                    self.step == self.config.steps
                ):
                    self.save()
                yield losses

    def _advance(self) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * self._rate()
        self.networks.train()
        terms = self._losses()
        total = torch.stack(
            [value * weight for value, weight in terms.values() if weight > 0]
        ).sum()
        if not bool(torch.isfinite(total)):
            bad = ", ".join(f"{key}={float(v.detach()):.3g}" for key, (v, _) in terms.items())
            raise NonFiniteLoss(
                f"step {self.step}: the loss is not finite ({bad}); "
                + (
                    f"the last good checkpoint is {self.checkpoint_path}"
                    if self.checkpoint_path.exists()
                    else "there is no checkpoint yet"
                )
            )
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.networks.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self._update_average()
        return {key: float(value.detach()) for key, (value, _) in terms.items()}

    def _losses(self) -> dict[str, tuple[Tensor, float]]:
        """Every term with its weight."""
        config = self.config
        terms: dict[str, tuple[Tensor, float]] = {}
        text = self.batcher.texts(TEXTS)
        loss, accuracy = self.classifier.loss(
            self.policy.language(text.tokens, text.mask), text.labels
        )
        terms["text"], terms["text_accuracy"] = (loss, 0.2), (accuracy, 0.0)
        if config.episodes:
            terms.update(self._state_losses())
        if config.images:
            terms.update(
                self._image_losses(self.batcher.images(config.images, config.sentences_per_image))
            )
        return terms

    def _state_losses(self) -> dict[str, tuple[Tensor, float]]:
        batch = self.batcher.states(self.config.episodes, self.config.states_per_episode)
        slots = self.policy.language(batch.text.tokens, batch.text.mask)
        slots = slots.repeat_interleave(batch.repeat, 0)
        points = imagine_points(
            self.policy, batch.state, batch.item, batch.target, batch.has_target
        )
        imitation, progress = self._act(batch, slots, points)
        return {"state_action": (imitation, 1.0), "state_progress": (progress, 0.2)}

    def _act(
        self, batch: StateBatch, slots: Tensor, points: dict[str, Points]
    ) -> tuple[Tensor, Tensor]:
        inputs = self._inputs(batch)
        action = self.policy.act(inputs, slots, points)
        return action_loss(
            action, batch.chunk, batch.progress, self.policy.head.scale, batch.imitate
        )

    def _inputs(self, batch: StateBatch, images: ImageBatch | None = None) -> Inputs:
        nothing = torch.zeros(0)
        return Inputs(
            rgb=images.rgb if images else (nothing, nothing),
            depth=images.depth if images else (nothing, nothing),
            imu=batch.imu,
            state=batch.state,
            language=nothing,
            language_mask=nothing,
            anchor=imagine_anchor(batch.start, batch.has_target),
            present=batch.present,
        )

    def _image_losses(self, batch: ImageBatch) -> dict[str, tuple[Tensor, float]]:
        count, per_image = len(batch.things), batch.per_image
        slots = self.policy.language(batch.queries.tokens, batch.queries.mask)
        slots = slots.view(count, per_image, *slots.shape[1:])  # (B, Q, 4, W)
        queries = slots[:, :, 1:3].flatten(1, 2)  # (B, 2Q, W)
        inputs = self._inputs(batch.state, batch)
        things, exists = batch.things.flatten(1, 2), batch.exists.flatten(1, 2)
        slack = batch.slack.flatten(1, 2)
        _, _, tcp = self.policy.kinematics(batch.state.state[:, : self.policy.config.n_joints])
        terms: dict[str, tuple[Tensor, float]] = {}
        own = {}
        for index, name in enumerate(CAMERAS):
            wanted, truth, there, room = queries, things, exists, slack
            if name == "front":
                grip = self.policy.gripper_query.expand(count, 1, -1)
                wanted = torch.cat([queries, grip], 1)
                truth = torch.cat([things, tcp[:, None]], 1)
                there = torch.cat([exists, torch.ones(count, 1)], 1)
                room = torch.cat([slack, torch.full((count, 1), 0.05)], 1)
            with torch.autocast("cpu", torch.bfloat16):
                sighting = self.policy.see(inputs, index, wanted)
            camera, pose = self.policy.config.cameras[name], batch.pose[index]
            local = (truth - pose[:, None, :3, 3]) @ pose[:, :3, :3]
            local = torch.where(there[..., None] > 0, local, torch.ones_like(local))
            visible = in_view(camera, local, batch.depth[index], room) * there
            sighting = type(sighting)(*(value.float() for value in sighting))
            attention, location = sighting_loss(sighting, camera, local, visible)
            terms[f"attention_{name}"] = (attention, 0.5)
            terms[f"location_{name}"] = (location, 0.3)
            keep = [0, 1, -1] if name == "front" else [0, 1]
            own[name] = type(sighting)(*(value[:, keep] for value in sighting))
        if not (self.config.episodes and batch.state.imitate.any()):
            return terms
        points = self.policy.to_base(own, inputs)
        imitation, progress = self._act(batch.state, slots[:, 0], points)
        terms["image_action"], terms["image_progress"] = (imitation, 0.5), (progress, 0.1)
        return terms

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / 200)
        done = self.step / self.config.steps
        return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))

    def _set_statistics(self) -> None:
        """Take normalization statistics from the demonstrations."""
        imitated = self.data.meta["imitate"][self.data.states["episode"]]
        states = {
            key: self.data.states[key][imitated]
            for key in ("state", "velocity", "command", "imu", "chunk")
        }
        lead = states["command"] - states["state"]
        lead = np.clip(lead, *np.percentile(lead, ORDINARY, axis=0))  # an arm that is blocked
        joint = np.concatenate([states["state"], states["velocity"], lead], 1)
        imu = states["imu"][:: max(1, len(joint) // 20000)].reshape(-1, 6)
        chunk, command = (np.asarray(states[key], np.float32) for key in ("chunk", "command"))
        moves = chunk - command[:, None, :]
        policy = self.policy
        for buffer, values in (
            (policy.state_mean, joint.mean(0)),
            (policy.state_std, joint.std(0) + 1e-3),
            (policy.imu_mean, imu.mean(0)),
            (policy.imu_std, imu.std(0) + 1e-3),
            (policy.head.scale, moves.std(0) + 1e-3),
        ):
            buffer.copy_(torch.from_numpy(np.asarray(values, np.float32)))

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        for key, value in self.networks.state_dict().items():
            if value.is_floating_point():
                self.average[key].lerp_(value, 1 - decay)
            else:
                self.average[key].copy_(value)

    def save(self) -> None:
        """Write the checkpoint that a later run resumes from."""
        state = {
            "step": self.step,
            "networks": self.networks.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "policy": self.policy.config.to_dict(),
            "training": json.dumps(asdict(self.config), default=str),
        }
        partial = self.checkpoint_path.with_suffix(".partial")
        torch.save(state, partial)
        partial.rename(self.checkpoint_path)

    def _restore(self) -> None:
        state = read_checkpoint(self.checkpoint_path)
        self.networks.load_state_dict(state["networks"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
