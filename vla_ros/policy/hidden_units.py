"""Hidden units: what one layer makes and only the next one reads, and networks with fewer of them.

Removing a unit takes a row of the layer that makes it and a column of the one that reads it: what
is left are smaller layers of the same kind, and a smaller graph. That is structured pruning of
filters (Li et al. 2017) and of the hidden layers of transformers. Widths that a residual path
shares, and attention heads, stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vla_ros.core.errors import UserError

Layer = nn.Linear | nn.Conv1d | nn.Conv2d
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
#: What may stand between the two layers: it treats every unit by itself.
_BETWEEN = (*_NORMS, nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Identity, nn.Dropout)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HiddenUnits:
    """The units between two layers.

    Attributes:
        makes: The layer whose outputs they are.
        norms: Batch norms on the way.
        reads: The layer whose inputs they are; nothing else reads them.
    """

    makes: Layer
    norms: tuple[nn.BatchNorm1d | nn.BatchNorm2d, ...]
    reads: Layer

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.makes.weight.shape[0])

    @torch.no_grad()
    def keep(self, chosen: Tensor) -> None:
        """Remove all units but the chosen ones (N,), in place."""
        makes, reads = self.makes, self.reads
        makes.weight = nn.Parameter(makes.weight[chosen].clone())
        if makes.bias is not None:
            makes.bias = nn.Parameter(makes.bias[chosen].clone())
        for norm in self.norms:
            norm.num_features = len(chosen)
            for name in ("weight", "bias"):
                setattr(norm, name, nn.Parameter(getattr(norm, name)[chosen].clone()))
            for name in ("running_mean", "running_var"):
                setattr(norm, name, getattr(norm, name)[chosen].clone())
        reads.weight = nn.Parameter(reads.weight[:, chosen].clone())
        if isinstance(makes, nn.Linear):
            makes.out_features = len(chosen)
        else:
            makes.out_channels = len(chosen)
        if isinstance(reads, nn.Linear):
            reads.in_features = len(chosen)
        else:
            reads.in_channels = len(chosen)


def hidden_units(network: nn.Module) -> dict[str, HiddenUnits]:
    """Return all hidden units that can be removed, by the name of the layer that makes them.

    They are found in sequences of layers and in transformer layers, by what stands there.
    """
    found: dict[str, HiddenUnits] = {}
    for name, module in network.named_modules():
        prefix = f"{name}." if name else ""
        if isinstance(module, nn.TransformerEncoderLayer):
            units = HiddenUnits(makes=module.linear1, norms=(), reads=module.linear2)
            found[f"{prefix}linear1"] = units
        elif isinstance(module, nn.Sequential):
            found |= {f"{prefix}{place}": units for place, units in _in_sequence(module)}
    return found


def resize(network: nn.Module, sizes: Mapping[str, int]) -> None:
    """Give a network that was just built as many hidden units as a pruned one has.

    Args:
        network: Its weights come afterwards.
        sizes: How many units are left, by the name that `hidden_units` gives them.

    Raises:
        UserError: if it has no units of a name, or fewer; names them.
    """
    units = hidden_units(network)
    for name, size in sizes.items():
        if name not in units or not 1 <= size <= units[name].count:
            there = f"{units[name].count} there" if name in units else "none of that name"
            raise UserError(
                f"pruned: {size} hidden units of {name} are to be left, and this policy has "
                f"{there}; a pruned policy keeps the sizes that it was pruned with"
            )
        units[name].keep(torch.arange(size))


def _in_sequence(sequence: nn.Sequential) -> Iterator[tuple[str, HiddenUnits]]:
    """Yield what is hidden between two layers of a sequence, with the first one's name."""
    before: tuple[str, Layer] | None = None
    norms: list[nn.BatchNorm1d | nn.BatchNorm2d] = []
    for name, module in sequence.named_children():
        if isinstance(module, _LAYERS):
            if before is not None and type(before[1]) is type(module) and _whole(module):
                yield before[0], HiddenUnits(makes=before[1], norms=tuple(norms), reads=module)
            before, norms = (name, module), []
        elif isinstance(module, _NORMS):
            norms.append(module)
        elif not isinstance(module, _BETWEEN):
            before = None


def _whole(layer: Layer) -> bool:
    """Whether every output of a layer reads every input."""
    return isinstance(layer, nn.Linear) or layer.groups == 1
