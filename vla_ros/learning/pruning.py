"""Removes the hidden units of a trained policy that matter least to its loss on demonstrations.

How much a unit matters is the first-order Taylor expansion of the loss in a gate on that unit
(Molchanov et al. 2019), squared and averaged over batches. It takes one backward pass per batch;
`magnitude` (Li et al. 2017) takes none. As in LLM-Pruner (Ma et al. 2023), what depends on a unit
is removed with it, and every layer loses the same share.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vla_ros.core.errors import UserError
from vla_ros.learning.batches import Batcher
from vla_ros.learning.checkpoints import policy_from_checkpoint, starting_point
from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.grounding_losses import Terms
from vla_ros.learning.losses import Losses
from vla_ros.learning.objectives import SlotClassifier
from vla_ros.learning.provenance import language_sha256, policy_sha256
from vla_ros.learning.question_bank import QuestionBank
from vla_ros.learning.run_checks import require_data
from vla_ros.learning.texts import TextBank
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.hidden_units import HiddenUnits, hidden_units
from vla_ros.policy.model import Policy

CRITERIA = ("taylor", "magnitude")
#: Layers keep a multiple of this: processors compute in blocks, and pay for those they begin.
BLOCK = 8
#: Terms of networks that a bundle lacks say nothing about its units.
_UNTOLD = ("text", "told")


@dataclass(frozen=True, slots=True, kw_only=True)
class PruningConfig:
    """What to remove, and how to tell what matters.

    Attributes:
        source: Bundle or checkpoint.
        language: Directory of its language encoder.
        data: Directories of shards that importance is measured on.
        share: Of the hidden units of every layer, 0 to 1; layers keep multiples of `BLOCK`.
        by: One of `CRITERIA`.
        batches: That are looked at.
        images: Rendered states per batch; 0 for none.
        episodes: Episodes of bare states per batch.
        rendered: Rendered states that batches are drawn from.
        sentences: Sentences that instructions are drawn from.
        seed: Of everything.
    """

    source: Path
    language: Path
    data: tuple[Path, ...] = ()
    share: float = 0.3
    by: str = "taylor"
    batches: int = 40
    images: int = 8
    episodes: int = 16
    rendered: int = 400
    sentences: int = 4000
    seed: int = 0

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            UserError: names the setting, what was expected and what came.
        """
        if not 0.0 < self.share < 1.0:
            raise UserError(f"share is {self.share}; expected more than 0 and less than 1")
        if self.by not in CRITERIA:
            raise UserError(f"--by {self.by!r} does not exist; choose {' or '.join(CRITERIA)}")
        if self.batches < 1 or self.rendered < 1:
            raise UserError(
                f"batches is {self.batches} and rendered {self.rendered}; expected 1 or more"
            )
        if self.by == "taylor" and not self.data:
            raise UserError(
                "what matters is measured on demonstrations: give their folder with --data, or "
                "--by magnitude"
            )


def prune(config: PruningConfig, watch: Callable[[int], None] = lambda done: None) -> Policy:
    """Return the policy with fewer hidden units; its configuration has their numbers.

    Args:
        config: What to remove.
        watch: Called with the number of batches that are done.

    Raises:
        UserError: if the source is no policy, or the demonstrations do not fit it or do not tell
            what matters.
    """
    policy = policy_from_checkpoint(config.source)
    units = hidden_units(policy)
    if config.by == "magnitude":
        importance = {name: magnitude(each) for name, each in units.items()}
    else:
        importance = measure(policy, _make_losses(policy, config), config.batches, watch)
    left = {name: remaining(each.count, config.share) for name, each in units.items()}
    for name, each in units.items():
        chosen = importance[name].topk(left[name]).indices.sort().values
        each.keep(chosen)
    # a policy built with these numbers takes these weights
    smaller = Policy(replace(policy.config, pruned={**(policy.config.pruned or {}), **left}))
    smaller.load_state_dict(policy.state_dict())
    return smaller.eval()


def remaining(count: int, share: float) -> int:
    """Return how many of some units are left when a share is removed."""
    return min(count, max(BLOCK, BLOCK * math.floor(count * (1.0 - share) / BLOCK + 0.5)))


def measure(
    policy: Policy,
    losses: Callable[[], Terms],
    batches: int,
    watch: Callable[[int], None] = lambda done: None,
) -> dict[str, Tensor]:
    """Return how much each hidden unit matters, by the names of `hidden_units`.

    A gate on a unit has the gradient that the weights which read the unit have, times themselves.

    Args:
        policy: In evaluation mode, so that nothing of it changes.
        losses: Draws a batch and returns the terms of its loss.
        batches: How many to draw.
        watch: Called with the number of batches that are done.

    Raises:
        UserError: if the loss does not depend on some units; names them.
    """
    units = hidden_units(policy)
    found = {name: torch.zeros(each.count) for name, each in units.items()}
    for done in range(batches):
        policy.zero_grad(set_to_none=True)
        terms = losses()
        parts = [value * w for key, (value, w) in terms.items() if w > 0 and key not in _UNTOLD]
        torch.stack(parts).sum().backward()  # type: ignore[no-untyped-call]
        for name, each in units.items():
            found[name] += _gate_gradient(each.reads).square() / batches
        watch(done + 1)
    policy.zero_grad(set_to_none=True)
    untold = [name for name, values in found.items() if not bool((values > 0).any())]
    if untold:
        raise UserError(
            f"the demonstrations do not tell what matters in {', '.join(untold[:3])}"
            f"{' and others' if len(untold) > 3 else ''}; the eyes need a --data folder with "
            "rendered states. --by magnitude needs none"
        )
    return found


@torch.no_grad()
def magnitude(units: HiddenUnits) -> Tensor:
    """Return how large the weights of each unit are: what makes it times what reads it."""
    made = units.makes.weight.flatten(1).abs().sum(1)
    for norm in units.norms:
        assert norm.running_var is not None
        made = made * norm.weight.abs() / torch.sqrt(norm.running_var + norm.eps)
    return made * units.reads.weight.transpose(0, 1).flatten(1).abs().sum(1)


def save_pruned(policy: Policy, config: PruningConfig, path: Path) -> None:
    """Write a checkpoint that a training run starts from, or that is exported as it is."""
    _, weights = starting_point(config.source)
    kept = {key: value for key, value in weights.items() if not key.startswith("policy.")}
    networks = kept | {f"policy.{key}": value for key, value in policy.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    state = {
        "step": 0,
        "networks": networks,
        "average": networks,
        "optimizer": {},
        "policy": policy.config.to_dict(),
        "training": json.dumps(_settings(config)),
    }
    torch.save(state, partial)
    partial.rename(path)


def _settings(config: PruningConfig) -> Mapping[str, Any]:
    """Return how it was pruned, as plain values; the source is where it started."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    source = plain.pop("source")
    return {
        **plain,
        **language_sha256(config.language),
        "start": source,
        "start_sha256": policy_sha256(config.source),
    }


@torch.no_grad()
def _gate_gradient(layer: nn.Module) -> Tensor:
    """Return the gradient of the loss in a gate on each input of a layer (N,)."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    if weight.grad is None:
        return torch.zeros(weight.shape[1])
    return (weight * weight.grad).transpose(0, 1).flatten(1).sum(1)


def _make_losses(policy: Policy, config: PruningConfig) -> Losses:
    """Return what draws batches of demonstrations and computes the loss on them."""
    training = TrainingConfig(
        data=config.data,
        output=Path(),
        language=config.language,
        images=config.images,
        episodes=config.episodes,
        texts=1,
        sentences=config.sentences,
    )
    torch.manual_seed(config.seed)
    rng = np.random.default_rng((config.seed, 61))
    data = Demonstrations.load(config.data, horizon=policy.config.horizon)
    require_data(data, training, policy.config)
    questions = None
    if config.images:
        rows = rng.permutation(len(data.images["row"]))[: config.rendered]
        data.images = {name: values[np.sort(rows)] for name, values in data.images.items()}
        questions = QuestionBank.build(data, config.language, training.questions, None)
    bank = TextBank.build(config.language, config.sentences)
    classifier = SlotClassifier(policy.config.width)
    return Losses(training, policy, classifier, Batcher(data, bank, questions, rng))
