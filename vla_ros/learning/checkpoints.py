"""Checkpoints of a training run: reading them, starting from them, and the policy in them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vla_ros.core.errors import UserError
from vla_ros.learning.provenance import differences, language_sha256
from vla_ros.policy.bundle import WEIGHTS, Bundle
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


def starting_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights that a further round starts from: of a checkpoint, or of a bundle.

    A bundle has no weights of what only training uses; they start anew.

    Raises:
        UserError: if the path is neither.
        BundleError: if a bundle's file is missing or corrupted; names it.
    """
    if path.is_dir():
        bundle = Bundle.open(path)
        return {f"policy.{k}": v for k, v in load_file(bundle.file(WEIGHTS)).items()}
    average: dict[str, Tensor] = read_checkpoint(path)["average"]
    return average


def settings_of(state: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the run that wrote a checkpoint."""
    settings: dict[str, Any] = json.loads(state["training"])
    return settings


def require_language(checkpoint: Path, directory: Path) -> None:
    """Refuse a language encoder that a checkpoint was not trained with.

    Checkpoints of before encoders were recorded are let pass.

    Raises:
        UserError: naming the files that differ.
    """
    trained = settings_of(read_checkpoint(checkpoint))
    different = differences(trained, language_sha256(directory))
    if different:
        raise UserError(
            f"{directory}: is not the language encoder that {checkpoint} was trained with: "
            f"{'; '.join(different)}. Give that one's folder with --language"
        )


def policy_from_checkpoint(path: Path) -> Policy:
    """Return the averaged policy of a training checkpoint, ready to run."""
    state = read_checkpoint(path)
    policy = Policy(PolicyConfig.from_dict(state["policy"]))
    weights = state["average"]
    policy.load_state_dict(
        {k.removeprefix("policy."): v for k, v in weights.items() if k.startswith("policy.")}
    )
    return policy.eval()
