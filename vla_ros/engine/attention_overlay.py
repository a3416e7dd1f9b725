"""Draws where a policy looked over the image that it looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vla_ros.core.types import Float32Array, UInt8Array
from vla_ros.engine.grounding import Grounding

Colour = tuple[int, int, int]

#: What is looked for, in the order of the attention maps, and its colour (RGB).
THINGS: dict[str, Colour] = {"object": (255, 60, 200), "target": (40, 225, 255)}
INK, PAPER = (235, 235, 235), (24, 26, 30)
#: How bright the image stays under the heat, 0 to 1.
DIMMED = 0.7
#: A cell with this share of all attention to a thing is as bright as can be.
BRIGHTEST = 0.25
#: A region is labelled if its chance to be the object, or the target, is at least this.
LABELLED = 0.05
#: The lines below the image, and the size of their letters at an enlargement of 1 [px].
LINE_PX, LETTERS = 8, 0.17
FONT = cv2.FONT_HERSHEY_SIMPLEX
#: Chances and what they are called, the highest first.
WORDS = (
    (0.95, "surely there"),
    (0.75, "probably there"),
    (0.5, "perhaps there"),
    (0.25, "perhaps not there"),
    (0.05, "probably not there"),
    (0.0, "surely not there"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A thing that was seen when the instruction came.

    Attributes:
        pixel: Its centre (u, v) in the front image [px].
        chances: How likely the instruction means it as its object and its target, 0 to 1.
    """

    pixel: tuple[float, float]
    chances: tuple[float, float]


def in_words(score: float) -> str:
    """Return what a chance that everything asked for is there, 0 to 1, is called."""
    return next((words for least, words in WORDS if score >= least), "unknown")


def marks_of(grounding: Grounding) -> tuple[Mark, ...]:
    """Return a mark for each thing of a grounding, the surest first."""
    return tuple(
        Mark(
            pixel=(float(region[4]), float(region[5])),
            chances=(float(chances[0]), float(chances[1])),
        )
        for region, chances in zip(grounding.regions, grounding.pointers.T[:-1], strict=True)
        if region[3] > 0
    )


def draw_attention(
    image: UInt8Array,
    heat: Float32Array,
    grounding: Grounding | None = None,
    *,
    marks: Sequence[Mark] = (),
    enlarged: int = 2,
) -> UInt8Array:
    """Return the image with heat over it, marks, and two lines of words below it.

    Heat is not stretched: the map of something that is not seen, or might be anywhere, stays
    dark. The lines say how surely each is in view, and how well the instruction fits the scene.

    Args:
        image: RGB (H, W, 3).
        heat: Attention to object and target (2, rows, columns); what is lacking to a sum of 1 is
            the chance that it is not in view.
        grounding: Whose score is told.
        marks: Things that are marked, with how likely each is meant.
        enlarged: Times that the image is enlarged.

    Returns:
        RGB (H * enlarged + 2 lines, W * enlarged, 3).
    """
    height, width = (enlarged * side for side in image.shape[:2])
    large = cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST)
    large = cv2.convertScaleAbs(large, alpha=DIMMED)
    for seen, colour in zip(heat, THINGS.values(), strict=True):
        large = cv2.addWeighted(large, 1.0, _glow(seen, colour, (width, height)), 1.0, 0.0)
    for mark in marks:
        _draw_mark(large, mark, enlarged)
    drawn = np.concatenate([large, np.full((2 * LINE_PX * enlarged, width, 3), PAPER, np.uint8)])
    left = enlarged * 2
    for seen, (thing, colour) in zip(heat, THINGS.items(), strict=True):
        text = f"{thing} in view {seen.sum():.0%}"
        _write(drawn, text, (left, height + enlarged * (LINE_PX - 2)), colour, enlarged)
        left = width // 2
    if grounding is not None:
        text = f"what is named: {in_words(grounding.score)} ({grounding.score:.0%})"
        _write(drawn, text, (enlarged * 2, height + enlarged * (2 * LINE_PX - 2)), INK, enlarged)
    return drawn


def _glow(seen: Float32Array, colour: Colour, size: tuple[int, int]) -> UInt8Array:
    """Return a map (rows, columns) as light of a colour, in a size (width, height) [px]."""
    level = cv2.resize(seen * (255.0 / BRIGHTEST), size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.applyColorMap(level.clip(0, 255).astype(np.uint8), _ramp(colour)))


def _ramp(colour: Colour) -> UInt8Array:
    """Return a colour map (256, 1, 3) from black to a colour."""
    steps = np.linspace(0.0, 1.0, 256)[:, None, None]
    return np.asarray(np.round(steps * colour), np.uint8)


def _draw_mark(large: UInt8Array, mark: Mark, enlarged: int) -> None:
    """Circle a region; a ring and a number in the thing's colour say how likely it is meant."""
    centre = (round(enlarged * (mark.pixel[0] + 0.5)), round(enlarged * (mark.pixel[1] + 0.5)))
    cv2.circle(large, centre, enlarged, INK, 1, cv2.LINE_AA)
    radius = 4 * enlarged
    for chance, colour in zip(mark.chances, THINGS.values(), strict=True):
        if chance >= LABELLED:
            cv2.circle(large, centre, radius, colour, max(1, enlarged // 2), cv2.LINE_AA)
            _label(large, f"{chance:.0%}", centre, radius + enlarged, colour, enlarged)
            radius += 2 * enlarged


def _label(
    large: UInt8Array,
    text: str,
    centre: tuple[int, int],
    apart: int,
    colour: Colour,
    enlarged: int,
) -> None:
    """Write to the right of a ring; to its left where that would leave the picture."""
    width = cv2.getTextSize(text, FONT, LETTERS * enlarged, 1)[0][0]
    left = centre[0] + apart
    if left + width > large.shape[1]:
        left = centre[0] - apart - width
    _write(large, text, (left, centre[1]), colour, enlarged)


def _write(
    picture: UInt8Array, text: str, at: tuple[int, int], colour: Colour, enlarged: int
) -> None:
    """Write into a picture, with an outline that keeps it legible on anything."""
    for ink, thickness in ((PAPER, 2), (colour, 1)):
        cv2.putText(picture, text, at, FONT, LETTERS * enlarged, ink, thickness, cv2.LINE_AA)
