"""Low-rank adapters on a trained policy (LoRA): a few parameters learn, and merge into the rest.

Hu et al. (2022), through `peft`. Beside every linear layer of the parts that adapt, and beside the
packed projections of their attention, stand two thin matrices whose product is added to the
weights. They begin at nothing, so that the adapted policy begins as the trained one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from vla_ros.core.errors import UserError
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.encoders.model_source import import_pretrained
from vla_ros.policy.model import Policy

#: What the product of the two matrices is scaled by: alpha / rank.
SCALE = 2


def adapt(policy: Policy, rank: int, targets: Sequence[str]) -> list[nn.Module]:
    """Freeze a policy and put adapters into some of its parts.

    Attention counts the adapter of its output projection twice, in training and in `merge` alike:
    peft adds it once for the attention and once for the projection.

    Args:
        policy: With the weights that it starts from, or with those of adapted networks to come.
        rank: Of the adapters.
        targets: Names of the parts.

    Returns:
        Modules that are to stay in evaluation mode, so that the normalization statistics of what
        does not adapt are kept.

    Raises:
        UserError: if the policy has no such part, or nothing in it adapts; lists what there is.
    """
    peft = import_pretrained("peft")
    _require_parts(policy, targets)
    layers = [name for name in _adaptable(policy) if _within(name, targets)]
    if not layers:
        raise UserError(f"lora_targets: {', '.join(targets)} have no linear layers to adapt")
    pattern = "|".join(re.escape(name) for name in layers)
    config = peft.LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=f"(?:{pattern})")
    peft.inject_adapter_in_model(config, policy)
    for module in policy.modules():
        if isinstance(module, nn.TransformerEncoderLayer) and _has_adapters(module):
            # torch's fused layer, in evaluation mode, reads the weights alone
            module.activation_relu_or_gelu = 0
    return list(_outside(policy, targets))


def merge(policy: Policy, targets: Sequence[str]) -> None:
    """Add the adapters of `adapt` to the weights, in place; what is left is an ordinary policy."""
    attention: list[str] = []
    for name, module in list(policy.named_modules()):
        if not _within(name, targets) or not hasattr(module, "get_base_layer"):
            continue
        if name.startswith(tuple(f"{outer}." for outer in attention)):
            continue  # its output projection, which it merges itself
        if hasattr(module, "unload_and_optionally_merge_module"):
            attention.append(name)
            whole = module.unload_and_optionally_merge_module(True, True, None)
        else:
            module.merge(safe_merge=True)
            whole = module.get_base_layer()
        parent, _, last = name.rpartition(".")
        setattr(policy.get_submodule(parent), last, whole)


def merged_weights(
    weights: Mapping[str, Tensor], config: PolicyConfig, settings: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Return the weights of a training run's networks with its adapters merged, if it has any.

    Args:
        weights: Of the networks: the policy's names begin with `policy.`.
        config: Of the policy.
        settings: Of the run.
    """
    rank, targets = int(settings.get("lora_rank") or 0), settings.get("lora_targets") or ()
    if not rank:
        return dict(weights)
    policy = Policy(config)
    adapt(policy, rank, targets)
    own = {key: value for key, value in weights.items() if key.startswith("policy.")}
    policy.load_state_dict({key.removeprefix("policy."): value for key, value in own.items()})
    merge(policy, targets)
    rest = {key: value for key, value in weights.items() if key not in own}
    return rest | {f"policy.{key}": value for key, value in policy.state_dict().items()}


def trained_parameters(network: nn.Module) -> int:
    """Return how many numbers training changes."""
    return sum(value.numel() for value in network.parameters() if value.requires_grad)


def _adaptable(policy: Policy) -> Iterator[str]:
    """Yield the names of attention and linear layers that have no adapters."""
    whole: list[str] = []
    for name, module in policy.named_modules():
        if name.startswith(tuple(f"{outer}." for outer in whole)):
            continue
        if hasattr(module, "get_base_layer"):
            whole.append(name)  # of a pretrained encoder that is tuned by adapters of its own
        elif isinstance(module, nn.MultiheadAttention):
            whole.append(name)
            yield name
        elif isinstance(module, nn.Linear):
            yield name


def _outside(module: nn.Module, targets: Sequence[str], path: str = "") -> Iterator[nn.Module]:
    """Yield the largest modules that hold none of the targets and lie in none."""
    for name, child in module.named_children():
        inner = f"{path}{name}"
        if inner in targets:
            continue
        if any(target.startswith(f"{inner}.") for target in targets):
            yield from _outside(child, targets, f"{inner}.")
        else:
            yield child


def _within(name: str, targets: Sequence[str]) -> bool:
    return any(name == target or name.startswith(f"{target}.") for target in targets)


def _has_adapters(module: nn.Module) -> bool:
    return any(hasattr(inner, "get_base_layer") for inner in module.modules())


def _require_parts(policy: Policy, targets: Sequence[str]) -> None:
    modules = dict(policy.named_modules())
    for name in targets:
        if name not in modules or not name:
            parts = sorted({key.split(".")[0] for key, _ in policy.named_parameters()})
            raise UserError(
                f"lora_targets: the policy has no part {name!r}; it has {', '.join(parts)}, and "
                "their parts, such as grounder.read"
            )
