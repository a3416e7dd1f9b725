"""Train a policy from demonstrations: resumable, seeded, with its losses on file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vla_ros.core.errors import UserError
from vla_ros.learning.adapters import adapt
from vla_ros.learning.batches import Batcher
from vla_ros.learning.checkpoints import (
    read_checkpoint,
    require_same_weights,
    settings_of,
)
from vla_ros.learning.distillation import open_teacher
from vla_ros.learning.freezing import begin_appearance, freeze
from vla_ros.learning.losses import Losses
from vla_ros.learning.normalization import set_statistics
from vla_ros.learning.objectives import SlotClassifier
from vla_ros.learning.process_group import ProcessGroup
from vla_ros.learning.provenance import differences
from vla_ros.learning.question_bank import QuestionBank
from vla_ros.learning.random_streams import RandomStreams, kept_states
from vla_ros.learning.run_config import RunConfig, write_run
from vla_ros.learning.starting import begin_from
from vla_ros.learning.step_loss import StepLoss
from vla_ros.learning.texts import TextBank
from vla_ros.learning.training_config import TrainingConfig, require_same_settings
from vla_ros.learning.training_data import load_data, open_recordings
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.encoders import load_image_weights
from vla_ros.policy.model import Policy


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the last checkpoint is kept."""


class Trainer:
    """Owns the networks, the optimizer and the data of one run.

    Several processes each have one; they do the same steps, each on its share of the batches.
    """

    def __init__(self, config: TrainingConfig, policy_config: PolicyConfig) -> None:
        """Load data, build or restore the networks.

        Raises:
            FileNotFoundError: if a folder holds no shard.
            UserError: if the data lacks what is to be trained, or if the run in `config.output`
                was begun with other settings; names them.
        """
        self.config = config
        self.group = ProcessGroup(processes=config.processes, device=config.device)
        self._random = RandomStreams(config.seed, self.group.rank, self.group.device)
        self._settings = config.settings()
        saved = self._read_saved(policy_config)
        teacher = open_teacher(config, policy_config, self.group.device)
        config.output.mkdir(parents=True, exist_ok=True)
        self.recordings = open_recordings(config, policy_config)
        self.data = load_data(config, policy_config, self.recordings)
        questions = None
        with self.group.main_first():
            self.bank = TextBank.build(
                config.language, config.sentences, cache=config.output / "sentences.npz"
            )
            if config.images:
                cache = config.output / "questions.npz"
                questions = QuestionBank.build(self.data, config.language, config.questions, cache)
        self.policy = Policy(policy_config)
        # a quarter faster on CPUs
        self.policy.vision.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        classifier = SlotClassifier(policy_config.width)
        self.networks = nn.ModuleDict({"policy": self.policy, "classifier": classifier})
        self.step = 0
        self.fresh: list[str] = []
        self.average: dict[str, Tensor] = {}
        self._frozen: list[nn.Module] = []
        self._random.part()
        self._begin(saved)
        self.group.require_same("the step to go on from", self.step)
        self._frozen += freeze(self.policy, config.freeze)
        self.networks.to(self.group.device)
        self.average = {k: v.to(self.group.device) for k, v in self.average.items()}
        self.optimizer = torch.optim.AdamW(
            self._learned(),
            lr=config.learning_rate,
            weight_decay=0.01,
            betas=(0.9, 0.98),
        )
        if saved is not None:
            self.optimizer.load_state_dict(saved["optimizer"])
        batcher = Batcher(
            self.data,
            self.bank,
            questions,
            self._random.numpy,
            self.group.device,
            policy_config.flow_delay if policy_config.head == "flow" else 0,
            config.intervention_weight,
        )
        share = config.shared(self.group.share)
        recorded = None
        if self.recordings is not None:
            order = (config.seed, self.step, self.group.rank)
            recorded = self.recordings.batches(share.recorded, order, self.group.device)
        self._losses = Losses(share, self.policy, classifier, batcher, teacher, recorded)
        self._objective = self.group.prepare(StepLoss(self.networks, self._losses))
        if self.group.main:
            write_run(RunConfig(policy=policy_config, training=config), config.output)

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
        """Train to the end; yield the losses of every step, after it is logged and saved.

        Raises:
            NonFiniteLoss: in every process, if something in a step is no finite number.
        """
        log = (self.config.output / "losses.jsonl").open("a")
        with log:
            while self.step < self.config.steps:
                losses = self._advance()
                if self.group.main and self.step % 20 == 0:
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
        for module in self._frozen:
            module.eval()
        total, terms = self._objective()
        everyones = self.group.gather({key: float(value) for key, value in terms.items()})
        if self.group.any_of(not bool(torch.isfinite(total))):
            raise self._not_finite("the loss of this batch", everyones)
        self.optimizer.zero_grad(set_to_none=True)
        self.group.backward(total)
        norm = nn.utils.clip_grad_norm_(self.networks.parameters(), 1.0)
        if self.group.any_of(not bool(torch.isfinite(norm))):
            raise self._not_finite("the gradient of this batch", everyones)
        self.optimizer.step()
        self.step += 1
        self._update_average()
        return _mean(everyones)

    def _not_finite(self, what: str, everyones: list[dict[str, float]]) -> NonFiniteLoss:
        shown = [
            ", ".join(f"{key}={value:.3g}" for key, value in terms.items()) for terms in everyones
        ]
        if len(shown) > 1:
            shown = [f"process {rank}: {terms}" for rank, terms in enumerate(shown)]
        return NonFiniteLoss(
            f"step {self.step}: {what} is not finite ({'; '.join(shown)}); {self._last_good()}"
        )

    def _last_good(self) -> str:
        if not self.checkpoint_path.exists():
            return "there is no checkpoint yet"
        return f"the last good checkpoint is {self.checkpoint_path}"

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
        """Write the checkpoint that a later run resumes from; plain data and tensors alone.

        Raises:
            NonFiniteLoss: instead of writing weights that are no finite numbers.
        """
        weights = self.networks.state_dict()
        bad = [key for key, value in weights.items() if not bool(torch.isfinite(value).all())]
        if self.group.any_of(bool(bad)):
            raise NonFiniteLoss(
                f"step {self.step}: not finite: {', '.join(bad) or 'weights of another process'}; "
                f"{self._last_good()}"
            )
        random = self.group.gather(self._random.state())
        if self.group.main:
            self._write(weights, random)
        self.group.wait()  # or another process might look for the file before it is there

    def _write(self, weights: dict[str, Tensor], random: list[dict[str, Any]]) -> None:
        state = {
            "step": self.step,
            "networks": weights,
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "policy": self.policy.config.to_dict(),
            "training": json.dumps(self._settings),
            "random": random,
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
        trained = PolicyConfig.from_dict(saved["policy"])  # what it does not tell was the default
        if different := differences(trained.to_dict(), policy.to_dict()):
            raise UserError(
                f"{path}: is of another policy: {'; '.join(different)}. Give the same options to "
                "go on, or another --output to begin a new run"
            )
        require_same_settings(settings_of(saved), self._settings, path)
        return saved

    def _begin(self, saved: dict[str, Any] | None) -> None:
        """Go on from a checkpoint; else begin with an earlier run's weights, or anew."""
        if saved is not None:
            self._adapt()
            self._restore(saved)
            return
        set_statistics(self.policy, self.data)
        load_image_weights(self.policy, self.policy.config.image_weights)
        if self.config.start is not None:
            self.fresh = begin_from(
                self.networks,
                self.policy.config,
                self.config.start,
                partly=self.config.start_partly,
                anew=self.config.anew,
            )
            if "policy.grounder.appearance.weight" in self.fresh:
                begin_appearance(self.policy, self.bank)
        self._adapt()
        self.average = {k: v.clone() for k, v in self.networks.state_dict().items()}

    def _adapt(self) -> None:
        """Freeze the policy and put adapters into it, if they are to be trained alone."""
        if self.config.lora_rank:
            self._frozen = adapt(self.policy, self.config.lora_rank, self.config.lora_targets)

    def _learned(self) -> list[nn.Parameter]:
        """Return what the optimizer knows of; without adapters all, frozen parameters as well."""
        parameters = self.networks.parameters()
        return [value for value in parameters if value.requires_grad or not self.config.lora_rank]

    def _restore(self, saved: dict[str, Any]) -> None:
        require_same_weights(saved["networks"], self.networks.state_dict(), self.checkpoint_path)
        self.networks.load_state_dict(saved["networks"])
        self.average = saved["average"]
        self.step = saved["step"]
        states = kept_states(saved)
        if self.group.rank < len(states):
            self._random.restore(states[self.group.rank])
        else:
            self._random.begin_at(self.step)


def _mean(everyones: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each term over the processes whose batch has it."""
    keys = dict.fromkeys(key for terms in everyones for key in terms)
    values = {key: [terms[key] for terms in everyones if key in terms] for key in keys}
    return {key: sum(found) / len(found) for key, found in values.items()}
