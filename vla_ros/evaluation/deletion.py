"""The deletion test: is what a policy says it looks at what its answer hangs on?

What the attention map calls most important is removed from the front image, and, to compare,
patches of the same size elsewhere (Samek et al. 2017; RISE, Petsiuk et al. 2018). If the map
explains anything, removing what it names does the greater damage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from vla_ros.core.types import Float32Array, FloatArray, Observation, UInt8Array
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.engine.grounding import Grounding

CAMERA = "front"
#: Side of a removed patch [px]; a thing on the table is 8 to 20 px wide.
SIDE_PX = 24
#: Attention this close to where it was strongest is still at the same thing [cells].
NEAR_CELLS = 2
#: Shares of the image that are removed for a deletion curve.
CURVE = (0.0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0)
#: A pointer below this means no region.
SURE = 0.5

Mask = UInt8Array
IndexArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """A square of an image: rows from `top`, columns from `left`, `side` of each [px]."""

    top: int
    left: int
    side: int = SIDE_PX

    def mask(self, height: int, width: int) -> Mask:
        """Return 255 inside it and 0 elsewhere (height, width)."""
        mask = np.zeros((height, width), np.uint8)
        mask[self.top : self.top + self.side, self.left : self.left + self.side] = 255
        return mask

    def overlaps(self, other: Square) -> bool:
        """Whether both have a pixel in common."""
        apart = max(abs(self.top - other.top), abs(self.left - other.left))
        return apart < max(self.side, other.side)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What a removal does to an answer.

    Attributes:
        chunk_rad: How far the chunk moves: mean over its rows and joints [rad].
        point_m: How far the place moves where the object is found [m].
        seen: How surely the front camera still sees the object where it saw it, 0 to 1: what of
            its attention is there.
    """

    chunk_rad: float
    point_m: float
    seen: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionTrial:
    """Damage by what is called important, and by as much of the image that is not.

    Attributes:
        important: By the removal of what is called important.
        other: By the removal of each of the others.
    """

    important: Damage
    other: tuple[Damage, ...]

    def mean_other(self, what: str) -> float:
        """Return the mean of one kind of damage over the others."""
        return float(np.mean([getattr(damage, what) for damage in self.other]))


class Probe:
    """A policy's answer to one observation and instruction, as the first of an episode.

    Grounding, memory and chunk are all made of the one observation, so that what is removed from
    it is known from nowhere else but the other senses.
    """

    def __init__(self, policy: BundlePolicy, instruction: str, observation: Observation) -> None:
        """Ask the policy once with nothing removed."""
        self._policy, self._instruction, self._observation = policy, instruction, observation
        self._chunk = self._ask(observation)
        found = policy.grounding
        assert found is not None  # it was asked
        self.grounding: Grounding = found
        self.heat: Float32Array = policy.attention[CAMERA]
        self._point = policy.points[0].copy()
        peak = np.unravel_index(int(self.heat[0].argmax()), self.heat.shape[1:])
        self._there = tuple(slice(max(0, at - NEAR_CELLS), at + NEAR_CELLS + 1) for at in peak)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the front image [px]."""
        height, width = self._observation.images[CAMERA].shape[:2]
        return height, width

    def damage(self, mask: Mask, fill: str) -> Damage:
        """Return what it does to the answer if the pixels of a mask are removed."""
        chunk = self._ask(remove(self._observation, mask, fill))
        point = self._policy.points[0]
        return Damage(
            chunk_rad=float(np.abs(chunk - self._chunk).mean()),
            point_m=float(np.linalg.norm(point[:3] - self._point[:3])),
            seen=float(self._policy.attention[CAMERA][0][self._there].sum()),
        )

    def compare(self, important: Square, others: Sequence[Square], fill: str) -> DeletionTrial:
        """Return the damage by a patch, and by others."""
        return DeletionTrial(
            important=self.damage(important.mask(*self.shape), fill),
            other=tuple(self.damage(patch.mask(*self.shape), fill) for patch in others),
        )

    def curve(self, order: IndexArray, fill: str) -> list[float]:
        """Return how surely the object is still seen where it was, for each share of `CURVE`.

        Args:
            order: Of the cells of the attention map, the first to be removed first.
            fill: What comes in their place.
        """
        height, width = self.shape
        side = width // self.heat.shape[-1]
        seen = []
        for share in CURVE:
            cells = np.zeros(len(order), np.uint8)
            cells[order[: round(share * len(order))]] = 255
            mask = cells.reshape(self.heat.shape[1:]).repeat(side, 0).repeat(side, 1)
            seen.append(self.damage(mask[:height, :width], fill).seen)
        return seen

    def _ask(self, observation: Observation) -> FloatArray:
        self._policy.start(self._instruction)
        return self._policy.infer(observation).positions


def important_patch(heat: Float32Array, shape: tuple[int, int]) -> Square:
    """Return the patch that holds the most attention.

    Args:
        heat: Attention to object and target (2, rows, columns).
        shape: Height and width of the image [px].
    """
    height, width = shape
    spread = cv2.resize(heat.sum(0), (width, height), interpolation=cv2.INTER_LINEAR)
    held = cv2.boxFilter(
        spread, cv2.CV_64F, (SIDE_PX, SIDE_PX), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT
    )
    inside = held[: height - SIDE_PX + 1, : width - SIDE_PX + 1]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return Square(top=int(top), left=int(left))


def random_patches(
    rng: Generator, shape: tuple[int, int], avoid: Square, count: int
) -> tuple[Square, ...]:
    """Return patches anywhere in the image (height, width) [px] that do not overlap `avoid`."""
    places = [
        patch
        for top in range(shape[0] - SIDE_PX + 1)
        for left in range(shape[1] - SIDE_PX + 1)
        if not (patch := Square(top=top, left=left)).overlaps(avoid)
    ]
    return tuple(places[index] for index in rng.choice(len(places), count, replace=False))


def region_patches(
    grounding: Grounding, shape: tuple[int, int]
) -> tuple[Square, tuple[Square, ...]] | None:
    """Return the patch on the region that the pointer means, and those on regions it does not.

    None if it means none, or every other one is the target or overlaps what is meant.
    """
    chances, there = grounding.pointers[:, :-1], grounding.regions[:, 3] > 0
    meant = {int(chances[row].argmax()) for row in range(2) if chances[row].max() >= SURE}
    if chances[0].max() < SURE:
        return None
    patches = [_centred(pixel, shape) for pixel in grounding.regions[:, 4:6]]
    important = patches[int(chances[0].argmax())]
    others = tuple(
        patch
        for index, patch in enumerate(patches)
        if there[index] and index not in meant and not patch.overlaps(important)
    )
    return (important, others) if others else None


def remove(observation: Observation, mask: Mask, fill: str) -> Observation:
    """Return the observation without the pixels of a mask (H, W) in its front colour and depth.

    Args:
        observation: It is not changed.
        mask: Not 0 where something is removed.
        fill: One of `FILLS`.
    """
    image, depth = observation.images[CAMERA], observation.depths[CAMERA]
    image, depth = FILLS[fill](image, depth, mask)
    return replace(
        observation,
        images={**observation.images, CAMERA: image},
        depths={**observation.depths, CAMERA: depth},
    )


def fill_with_median(
    image: UInt8Array, depth: Float32Array, mask: Mask
) -> tuple[UInt8Array, Float32Array]:
    """Paint the median colour of the image; depth has a hole there."""
    image, depth = image.copy(), depth.copy()
    image[mask > 0] = np.median(image.reshape(-1, 3), axis=0).astype(np.uint8)
    depth[mask > 0] = 0.0
    return image, depth


def fill_from_around(
    image: UInt8Array, depth: Float32Array, mask: Mask
) -> tuple[UInt8Array, Float32Array]:
    """Go on with what is around it (Telea 2004), in colour and depth: nothing looks removed."""
    if mask.all():
        return fill_with_median(image, depth, mask)
    return (
        np.asarray(cv2.inpaint(image, mask, 3, cv2.INPAINT_TELEA), np.uint8),
        np.asarray(cv2.inpaint(depth, mask, 3, cv2.INPAINT_TELEA), np.float32),
    )


#: What comes in the place of what is removed.
FILLS: dict[str, Callable[[UInt8Array, Float32Array, Mask], tuple[UInt8Array, Float32Array]]] = {
    "median": fill_with_median,
    "inpainted": fill_from_around,
}


def area_under(curve: Sequence[float]) -> float:
    """Return the area under a curve over `CURVE`; the lower, the better it explains."""
    return float(np.trapezoid(curve, CURVE))


def _centred(pixel: Float32Array, shape: tuple[int, int]) -> Square:
    """Return the patch around a pixel (u, v), moved into the image where it sticks out."""
    left, top = (
        int(np.clip(round(float(at)) - SIDE_PX // 2, 0, size - SIDE_PX))
        for at, size in zip(pixel, shape[::-1], strict=True)
    )
    return Square(top=top, left=left)
