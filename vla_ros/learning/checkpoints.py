"""Checkpoints of a training run: reading them, starting from them, and the policy in them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vla_ros.core.errors import UserError
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.model import Policy

#: Buffers that are measured on the demonstrations.
STATISTICS = ("state_mean", "state_std", "imu_mean", "imu_std", "head.scale")


def warm_start(networks: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    """Take the weights of an earlier run; return the names of those that it lacks or shapes else.

    Statistics belong together: if one does not fit, all stay those of the data.
    """
    own = networks.state_dict()
    fresh = [
        key
        for key, value in own.items()
        if key not in weights or value.shape != weights[key].shape
    ]
    statistics = [f"policy.{name}" for name in STATISTICS]
    if set(statistics) & set(fresh):
        fresh = sorted({*fresh, *statistics})
    networks.load_state_dict({k: own[k] if k in fresh else weights[k] for k in own})
    return fresh


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint; only tensors and plain data are unpickled.

    Raises:
        UserError: if the file is none.
    """
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: is no training checkpoint: {error}".splitlines()[0]) from error
    missing = {"step", "networks", "average", "optimizer", "policy", "training"} - set(state)
    if missing:
        raise UserError(f"{path}: is no training checkpoint: lacks {', '.join(sorted(missing))}")
    return state


def policy_from_checkpoint(path: Path) -> Policy:
    """Return the averaged policy of a training checkpoint, ready to run."""
    state = read_checkpoint(path)
    policy = Policy(PolicyConfig.from_dict(state["policy"]))
    weights = state["average"]
    policy.load_state_dict(
        {k.removeprefix("policy."): v for k, v in weights.items() if k.startswith("policy.")}
    )
    return policy.eval()
