"""What stays as it is while the rest is trained, and where what is new begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from vla_ros.core.errors import UserError
from vla_ros.learning.texts import PAIRS, TextBank
from vla_ros.policy.model import Policy
from vla_ros.policy.regions import COLOUR_CLASSES, KIND_CLASSES
from vla_ros.sim.layout import CONTAINERS
from vla_ros.sim.scenes import COLOURS, SHAPES

#: Sentences per thing that the beginning of its appearance is averaged over.
SENTENCES = 12


def freeze(policy: Policy, names: Sequence[str]) -> list[nn.Module]:
    """Keep parts of the policy, modules by their names, from being trained.

    Returns:
        The modules of those names, which are to stay in evaluation mode: normalization statistics
        are kept as well.

    Raises:
        UserError: if nothing has such a name; lists what there is.
    """
    modules = dict(policy.named_modules())
    parts = sorted({name.split(".")[0] for name, _ in policy.named_parameters()})
    for name in names:
        if name not in modules:
            raise UserError(
                f"freeze: the policy has no part {name!r}; it has {', '.join(parts)}, and their "
                "parts, such as grounder.read"
            )
        modules[name].requires_grad_(False)
    return [modules[name] for name in names]


@torch.no_grad()
def begin_appearance(policy: Policy, bank: TextBank) -> None:
    """Let what the eyes are asked for a thing begin as what words call it, on average.

    Colours and kinds add up: a least-squares fit over the pairs that training has.
    """
    rng = np.random.default_rng(0)
    rows, values = [], []
    for colour, shape in PAIRS:
        sentences = [bank.draw(rng, ("lift", (colour, shape), None)) for _ in range(SENTENCES)]
        rows.append(_one_hot(COLOURS.index(colour), SHAPES.index(shape)))
        values.append(_mean_slot(policy, bank, sentences, 1))
    for index, name in enumerate(CONTAINERS):
        pairs = [PAIRS[int(rng.integers(len(PAIRS)))] for _ in range(SENTENCES)]
        sentences = [bank.draw(rng, ("place", pair, name)) for pair in pairs]
        rows.append(_one_hot(len(COLOURS), len(SHAPES) + index))
        values.append(_mean_slot(policy, bank, sentences, 2))
    fit = torch.linalg.lstsq(torch.stack(rows), torch.stack(values), driver="gelsd").solution
    policy.grounder.appearance.weight.copy_(fit.T)


def _one_hot(colour: int, kind: int) -> torch.Tensor:
    row = torch.zeros(COLOUR_CLASSES + KIND_CLASSES)
    row[colour] = row[COLOUR_CLASSES + kind] = 1.0
    return row


def _mean_slot(policy: Policy, bank: TextBank, rows: list[int], slot: int) -> torch.Tensor:
    tokens = torch.from_numpy(bank.features[rows]).float()
    mask = torch.from_numpy(bank.masks[rows]).float()
    was_training = policy.language.training
    policy.language.eval()
    mean: torch.Tensor = policy.language(tokens, mask)[:, slot].mean(0)
    policy.language.train(was_training)
    return mean
