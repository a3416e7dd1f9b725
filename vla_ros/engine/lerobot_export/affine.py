"""What LeRobot's pre- and post-processors do to a feature, as one scale and one offset.

A processor is asked, not read: it is given zeros, ones and other values, and what it makes of them
says what it computes. Whatever is not affine in each element is refused, since a graph that left
it out would steer a robot wrongly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vla_ros.core.errors import EngineError

#: Values that must come out as the scale and the offset say, all over; different ones follow.
PROBES = (-3.0, 0.5, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """`x * scale + offset`, in each element of a vector or each channel of an image.

    Attributes:
        scale: float64, shape (n,) for a vector, (channels, 1, 1) for an image.
        offset: float64, the same shape.
    """

    scale: Tensor
    offset: Tensor

    def __call__(self, value: Tensor) -> Tensor:
        """Return the value as the network, or the robot, wants it, in float32."""
        return value * self.scale.float() + self.offset.float()


def probe(process: Callable[[Tensor], Tensor], shape: tuple[int, ...], feature: str) -> Affine:
    """Return what a processor computes for a feature.

    Args:
        process: What the processor does to the feature, float64 in and out.
        shape: Of the feature: (n,), or (channels, height, width).
        feature: Its name, for the error.

    Raises:
        EngineError: if it is not affine in each element, or not the same all over an image.
    """
    offset = process(torch.zeros(shape, dtype=torch.float64))
    scale = process(torch.ones(shape, dtype=torch.float64)) - offset
    mixed = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for value in (*(torch.full(shape, each, dtype=torch.float64) for each in PROBES), mixed):
        found = process(value)
        if found.shape != torch.Size(shape) or not torch.allclose(
            found, value * scale + offset, rtol=1e-9, atol=1e-9
        ):
            raise EngineError(
                f"{feature}: the checkpoint's processors do more to it than to scale and shift "
                "each element, and that cannot be put into a graph; run it with --backend lerobot"
            )
    if len(shape) == 3:
        scale, offset = (_per_channel(each, feature) for each in (scale, offset))
    return Affine(scale=scale, offset=offset)


def of_bytes(affine: Affine) -> Affine:
    """Return what an affine of values from 0 to 1 is for bytes, from 0 to 255."""
    return Affine(scale=affine.scale / 255.0, offset=affine.offset)


def _per_channel(value: Tensor, feature: str) -> Tensor:
    first = value[:, :1, :1]
    if not torch.equal(first.expand_as(value), value):
        raise EngineError(
            f"{feature}: the checkpoint normalizes each pixel differently, and the export wants "
            "one scale for each channel; run it with --backend lerobot"
        )
    return first.clone()
