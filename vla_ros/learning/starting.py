"""Begins a run with an earlier one's weights, once it is clear that they fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn

from vla_ros.core.errors import UserError
from vla_ros.learning.checkpoints import read_policy, starting_point, warm_start
from vla_ros.policy.configuration import PolicyConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """What may differ from the policy started from where another one of a kind is chosen.

    Attributes:
        fields: That say which one it is, and how large.
        parts: Of the policy that may then begin anew.
    """

    fields: tuple[str, ...]
    parts: tuple[str, ...]


#: By the field whose change is the choice.
CHOICES = {
    "fusion": _Choice(fields=("layers", "feedforward"), parts=("fusion", "grounder.fusion")),
    "head": _Choice(
        fields=("horizon", "flow_steps", "flow_delay", "action_bins"), parts=("head",)
    ),
    "image_encoder": _Choice(fields=("image_weights", "image_tuning"), parts=("vision",)),
    "image_weights": _Choice(fields=("image_tuning",), parts=("vision",)),
    "image_tuning": _Choice(fields=(), parts=("vision",)),
    "depth_encoder": _Choice(fields=(), parts=("vision", "cloud")),
    "imu_encoder": _Choice(fields=(), parts=("imu_embed",)),
}
#: Demonstrations farther than this from those that were started from are of something else, such
#: as degrees for radians [standard deviations].
FAR = 10.0
_MEASURED = ("state", "imu")
_SHOWN = 3


def begin_from(
    networks: nn.Module,
    config: PolicyConfig,
    start: Path,
    *,
    partly: bool,
    anew: tuple[str, ...] = (),
) -> list[str]:
    """Take the weights of an earlier run; return the names of those that begin anew.

    Parts of which another kind was chosen begin anew, and so do those that the earlier run did
    not have. Everything else has to fit.

    Args:
        networks: Of the run that begins, with the statistics of its demonstrations.
        config: Of its policy.
        start: Checkpoint or bundle.
        partly: Take what fits although something that should does not.
        anew: Beginnings of the names of the policy's parameters that begin anew all the same.

    Raises:
        UserError: naming what does not fit, with both sides.
    """
    described, weights = starting_point(start)
    broken = [key for key, value in weights.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise UserError(f"{start}: holds no finite numbers in {_some(broken)}; start from another")
    own = networks.state_dict()
    before = read_policy(described, start)
    chosen = [name for name in CHOICES if getattr(config, name, None) != getattr(before, name, "")]
    misfits = _differing_fields(before, config, chosen) + _differing_weights(own, weights, chosen)
    if misfits and not partly:
        raise UserError(
            f"{start}: is of another policy: {'; '.join(misfits)} (here and there). Choose the "
            "same to go on from it, or give --start-partly to take what fits and begin the rest "
            "anew"
        )
    learned = [key for key, _ in networks.named_parameters() if key.startswith("policy.")]
    if not any(key in weights and own[key].shape == weights[key].shape for key in learned):
        raise UserError(
            f"{start}: nothing of it fits: {'; '.join(misfits) or 'it has other parts'} (here and "
            "there); leave --start out to begin anew"
        )
    _require_like_data(own, weights, start)
    left = tuple(f"policy.{name}" for name in anew)
    kept = {key: value for key, value in weights.items() if not (left and key.startswith(left))}
    return warm_start(networks, kept)


def parts_of(names: list[str]) -> list[str]:
    """Return the parts of the networks that weights belong to, each once."""
    return list(dict.fromkeys(_part(name) for name in names))


def _part(name: str) -> str:
    top, _, rest = name.partition(".")
    return rest.partition(".")[0] if top == "policy" else top


def _differing_fields(before: PolicyConfig, now: PolicyConfig, chosen: list[str]) -> list[str]:
    """Return a phrase for each size that differs and that no choice explains."""
    free = {*chosen, *(name for choice in chosen for name in CHOICES[choice].fields)}
    pairs = {
        of.name: (getattr(now, of.name), getattr(before, of.name))
        for of in fields(PolicyConfig)
        if of.name not in free and isinstance(getattr(now, of.name), int | float | str)
    }
    return [f"{name} is {one} and {other}" for name, (one, other) in pairs.items() if one != other]


def _differing_weights(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor], chosen: list[str]
) -> list[str]:
    """Return phrases for weights that do not fit, in parts that both have and nobody chose."""
    free = tuple(f"policy.{part}." for choice in chosen for part in CHOICES[choice].parts)
    parts = {_part(key) for key in own} & {_part(key) for key in weights}
    ours, theirs = (
        {
            key: tuple(value.shape)
            for key, value in side.items()
            if key.startswith("policy.") and not key.startswith(free) and _part(key) in parts
        }
        for side in (own, weights)
    )
    shapes = [
        f"{key} is {ours[key]} and {theirs[key]}"
        for key in ours
        if key in theirs and ours[key] != theirs[key]
    ]
    lacking = [key for key in ours if key not in theirs]
    extra = [key for key in theirs if key not in ours]
    found = shapes[:_SHOWN]
    if len(shapes) > _SHOWN:
        found.append(f"{len(shapes) - _SHOWN} more differ in shape")
    if lacking:
        found.append(f"only here: {_some(lacking)}")
    if extra:
        found.append(f"only there: {_some(extra)}")
    return found


def _require_like_data(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor], start: Path
) -> None:
    """Refuse demonstrations that are far from those that `start` normalizes for."""
    for name in _MEASURED:
        mean, std = f"policy.{name}_mean", f"policy.{name}_std"
        if any(key not in weights or weights[key].shape != own[key].shape for key in (mean, std)):
            continue
        far = (own[mean] - weights[mean]).abs() > FAR * weights[std]
        wide = own[std] > FAR * weights[std]
        for index in (far | wide).nonzero().flatten().tolist():
            raise UserError(
                f"{start}: was trained on other measurements: value {index} of {name} is "
                f"{own[mean][index]:.3g} ± {own[std][index]:.3g} in the demonstrations, and "
                f"{weights[mean][index]:.3g} ± {weights[std][index]:.3g} there. Are the units the "
                "same? Without --start, the policy begins with the statistics of the "
                "demonstrations"
            )


def _some(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
