"""Train a policy from demonstrations: resumable, seeded, with its losses on file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vla_ros.core.errors import UserError
from vla_ros.learning.batches import Batcher
from vla_ros.learning.checkpoints import (
    read_checkpoint,
    settings_of,
    starting_weights,
    warm_start,
)
from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.losses import Losses, Terms
from vla_ros.learning.normalization import set_statistics
from vla_ros.learning.objectives import SlotClassifier
from vla_ros.learning.provenance import differences
from vla_ros.learning.texts import TextBank
from vla_ros.learning.training_config import TrainingConfig, require_same_settings
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.model import Policy


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the last checkpoint is kept."""


class Trainer:
    """Owns the networks, the optimizer and the data of one run."""

    def __init__(self, config: TrainingConfig, policy_config: PolicyConfig) -> None:
        """Load data, build or restore the networks.

        Raises:
            FileNotFoundError: if a folder holds no shard.
            UserError: if the data lacks what is to be trained, or if the run in `config.output`
                was begun with other settings; names them.
        """
        torch.manual_seed(config.seed)
        self.config = config
        self._settings = config.settings()
        saved = self._read_saved(policy_config)
        config.output.mkdir(parents=True, exist_ok=True)
        self.data = Demonstrations.load(config.data, config.eyes_only)
        _require_data(self.data, config)
        self.bank = TextBank.build(
            config.language, config.sentences, cache=config.output / "sentences.npz"
        )
        self.policy = Policy(policy_config)
        # a quarter faster on CPUs
        self.policy.vision.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        classifier = SlotClassifier(policy_config.width)
        self.networks = nn.ModuleDict({"policy": self.policy, "classifier": classifier})
        self.step = 0
        self.fresh: list[str] = []
        self._rng = np.random.default_rng((config.seed, 0))
        self.optimizer = torch.optim.AdamW(
            self.networks.parameters(),
            lr=config.learning_rate,
            weight_decay=0.01,
            betas=(0.9, 0.98),
        )
        self._begin(saved)
        batcher = Batcher(self.data, self.bank, self._rng)
        self._losses = Losses(config, self.policy, classifier, batcher)

    @property
    def checkpoint_path(self) -> Path:
        """Where the run's last state is kept."""
        return self.config.output / "checkpoint.pt"

    @property
    def precision(self) -> str:
        """In which precision images are seen, and why; all else is float32."""
        why = self._losses.why_float32
        return f"float32, since {why}" if why else "bfloat16"

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
            raise self._not_finite(terms)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.networks.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self._update_average()
        return {key: float(value.detach()) for key, (value, _) in terms.items()}

    def _not_finite(self, terms: Terms) -> NonFiniteLoss:
        bad = ", ".join(f"{key}={float(value.detach()):.3g}" for key, (value, _) in terms.items())
        last = "there is no checkpoint yet"
        if self.checkpoint_path.exists():
            last = f"the last good checkpoint is {self.checkpoint_path}"
        return NonFiniteLoss(f"step {self.step}: the loss is not finite ({bad}); {last}")

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / 200)
        done = self.step / self.config.steps
        return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        for key, value in self.networks.state_dict().items():
            if value.is_floating_point():
                self.average[key].lerp_(value, 1 - decay)
            else:
                self.average[key].copy_(value)

    def save(self) -> None:
        """Write the checkpoint that a later run resumes from; plain data and tensors alone."""
        state = {
            "step": self.step,
            "networks": self.networks.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "policy": self.policy.config.to_dict(),
            "training": json.dumps(self._settings),
            "torch_random": torch.get_rng_state(),
            "numpy_random": json.dumps(self._rng.bit_generator.state),
        }
        partial = self.checkpoint_path.with_suffix(".partial")
        torch.save(state, partial)
        partial.rename(self.checkpoint_path)

    def _read_saved(self, policy: PolicyConfig) -> dict[str, Any] | None:
        """Return the checkpoint to go on from, if there is one and it fits."""
        path = self.checkpoint_path
        if not path.exists():
            return None
        saved = read_checkpoint(path)
        if different := differences(saved["policy"], policy.to_dict()):
            raise UserError(
                f"{path}: is of another policy: {'; '.join(different)}. Give the same options to "
                "go on, or another --output to begin a new run"
            )
        require_same_settings(settings_of(saved), self._settings, path)
        return saved

    def _begin(self, saved: dict[str, Any] | None) -> None:
        """Go on from a checkpoint; else begin with an earlier run's weights, or anew."""
        if saved is not None:
            self._restore(saved)
            return
        set_statistics(self.policy, self.data)
        if self.config.start is not None:
            self.fresh = warm_start(self.networks, starting_weights(self.config.start))
        self.average = {k: v.clone() for k, v in self.networks.state_dict().items()}

    def _restore(self, saved: dict[str, Any]) -> None:
        self.networks.load_state_dict(saved["networks"])
        self.average = saved["average"]
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step = saved["step"]
        if "torch_random" not in saved:  # of before generators were kept
            self._rng = np.random.default_rng((self.config.seed, self.step))
            return
        torch.set_rng_state(saved["torch_random"])
        self._rng.bit_generator.state = json.loads(saved["numpy_random"])


def _require_data(data: Demonstrations, config: TrainingConfig) -> None:
    """Refuse data that lacks what is to be trained.

    Raises:
        UserError: saying what to do.
    """
    folders = ", ".join(str(folder) for folder in (*config.data, *config.eyes_only))
    if config.images and "row" not in data.images:
        raise UserError(
            f"images is {config.images}, but no state in {folders} is rendered; give --images 0 "
            "to train the hand alone, or a folder collected with --image-share above 0"
        )
    if not data.meta["imitate"].any():
        raise UserError(
            f"{', '.join(str(folder) for folder in config.data)}: hold nothing to imitate, and "
            "stills train the eyes alone; give a --data folder of played episodes as well"
        )
