"""What the eyes are asked for where training tells how things look."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vla_ros.policy.model import Policy
from vla_ros.policy.regions import COLOUR_CLASSES, KIND_CLASSES


def with_looks(policy: Policy, slots: Tensor, looks: Tensor, given: Tensor) -> Tensor:
    """Return slots (N, 4, W), object and target replaced by how they look where `given`.

    Args:
        policy: Whose slots they are.
        slots: What the words say.
        looks: Classes of colour and kind of object and target (N, 2, 2).
        given: (N, 2), 1 where the grounding says how it looks.
    """
    colour = functional.one_hot(looks[..., 0], COLOUR_CLASSES)
    kind = functional.one_hot(looks[..., 1], KIND_CLASSES)
    named = policy.grounder.appearance(torch.cat([colour, kind], -1).to(slots.dtype))
    both = torch.where(given[..., None] > 0, named, slots[:, 1:3])
    return torch.cat([slots[:, :1], both, slots[:, 3:]], 1)
