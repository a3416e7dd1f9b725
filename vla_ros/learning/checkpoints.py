"""Checkpoints of a training run: reading them, starting from them, and the policy in them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vla_ros.core.errors import UserError
from vla_ros.learning.adapters import merged_weights
from vla_ros.learning.provenance import differences, language_sha256
from vla_ros.policy.bundle import LANGUAGE, TOKENIZER, WEIGHTS, Bundle
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
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: is no training checkpoint: {error}".splitlines()[0]) from error
    missing = {"step", "networks", "average", "optimizer", "policy", "training"} - set(state)
    if missing:
        raise UserError(f"{path}: is no training checkpoint: lacks {', '.join(sorted(missing))}")
    return state


def starting_point(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the policy's configuration and the weights of a checkpoint, or of a bundle.

    Adapters are merged into the weights. A bundle has no weights of what only training uses.

    Raises:
        UserError: if the path is neither.
        BundleError: if a bundle's file is missing or corrupted; names it.
    """
    if path.is_dir():
        bundle = Bundle.open(path)
        weights = load_file(bundle.file(WEIGHTS))
        return bundle.policy, {f"policy.{key}": value for key, value in weights.items()}
    saved = read_checkpoint(path)
    config = read_policy(saved["policy"], path)
    return saved["policy"], merged_weights(saved["average"], config, settings_of(saved))


def pruned_sizes(path: Path) -> Mapping[str, int] | None:
    """Return how many hidden units pruning left of the policy of a checkpoint or bundle."""
    described = Bundle.open(path).policy if path.is_dir() else read_checkpoint(path)["policy"]
    return read_policy(described, path).pruned


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


def trained_language(path: Path) -> dict[str, str]:
    """Return the SHA-256 of the files of the language encoder of a checkpoint or bundle."""
    known = Bundle.open(path).files if path.is_dir() else settings_of(read_checkpoint(path))
    return {name: known[name] for name in (LANGUAGE, TOKENIZER) if name in known}


def policy_from_checkpoint(path: Path) -> Policy:
    """Return the averaged policy of a training checkpoint, or that of a bundle, ready to run.

    Adapters are merged into the weights.

    Raises:
        UserError: if the path is neither, or of another version of vla_ros.
        BundleError: if a bundle's file is missing or corrupted; names it.
    """
    described, networks = starting_point(path)
    policy = Policy(read_policy(described, path))
    weights = {
        key.removeprefix("policy."): value
        for key, value in networks.items()
        if key.startswith("policy.")
    }
    require_same_weights(weights, policy.state_dict(), path)
    policy.load_state_dict(weights)
    return policy.eval()


def read_policy(described: Mapping[str, Any], path: Path) -> PolicyConfig:
    """Return the configuration of a policy in a checkpoint, or in a bundle.

    Args:
        described: As `PolicyConfig.to_dict` gives it; what is not told has its default.
        path: Where it was read.

    Raises:
        UserError: if another version of vla_ros made it.
    """
    unknown = sorted(set(described) - {of.name for of in fields(PolicyConfig)})
    if unknown:
        raise UserError(
            f"{path}: is of a policy with {', '.join(unknown)}, which this version of vla_ros "
            "does not know; take another, or the version that made it"
        )
    return PolicyConfig.from_dict(described)


def require_same_weights(
    saved: Mapping[str, Tensor], own: Mapping[str, Tensor], checkpoint: Path
) -> None:
    """Refuse a checkpoint whose networks have other weights than those that they are for.

    Raises:
        UserError: naming some of them, and both sides.
    """
    wrong = [f"it lacks {key}" for key in own if key not in saved]
    wrong += [f"it has {key}" for key in saved if key not in own]
    wrong += [
        f"{key} is {tuple(own[key].shape)}, was {tuple(saved[key].shape)}"
        for key in own
        if key in saved and own[key].shape != saved[key].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(
            f"{checkpoint}: has the weights of another architecture: {'; '.join(wrong[:3])}{more}."
            f" Begin a new run with another --output; `--start {checkpoint}` takes what fits"
        )
