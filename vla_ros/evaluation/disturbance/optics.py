"""Colour images that are blurred, wrongly exposed or partly hidden."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator

from vla_ros.core.types import Float32Array, FloatArray, Observation, UInt8Array
from vla_ros.evaluation.disturbance.base import Disturbance, Filter, change_images

#: Exponent between the values of an sRGB image and light, as usually approximated.
GAMMA = 2.2


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionBlur(Disturbance):
    """A camera that shakes while the shutter is open, in another direction in every frame.

    Attributes:
        length_px: Of the path of a point of light [px].
    """

    length_px: float = 9.0

    @property
    def effect(self) -> str:
        """Say how much."""
        return f"colour images are smeared along a line of {self.length_px:g} px"

    def begin(self, rng: Generator) -> Filter:
        """Smear every frame."""
        return lambda seen: change_images(
            seen, lambda _, image: _convolve(image, _line(self.length_px, rng.uniform(0, math.pi)))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Defocus(Disturbance):
    """A lens that is out of focus.

    Attributes:
        radius_px: Of the disc that a point of light becomes [px].
    """

    radius_px: float = 3.0

    @property
    def effect(self) -> str:
        """Say how much."""
        return f"colour images are out of focus: points are discs of {self.radius_px:g} px radius"

    def begin(self, rng: Generator) -> Filter:
        """Blur every frame alike."""
        del rng
        kernel = _disc(self.radius_px)
        return lambda seen: change_images(seen, lambda _, image: _convolve(image, kernel))


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongExposure(Disturbance):
    """A shutter that is open too long or too briefly.

    Attributes:
        stops: By how many doublings of the light; negative is too dark.
    """

    stops: float

    @property
    def effect(self) -> str:
        """Say how much."""
        times = 2.0 ** abs(self.stops)
        much = f"{times:.2g} times" if self.stops > 0 else f"1/{times:.2g} of"
        return f"colour images have {much} the light ({self.stops:+g} stops)"

    def begin(self, rng: Generator) -> Filter:
        """Change every frame alike."""
        del rng
        light = (np.arange(256) / 255.0) ** GAMMA * 2.0**self.stops
        table = np.round(255.0 * np.clip(light, 0, 1) ** (1.0 / GAMMA)).astype(np.uint8)
        return lambda seen: change_images(seen, lambda _, image: table[image])


@dataclass(frozen=True, slots=True, kw_only=True)
class Occlusion(Disturbance):
    """Something hangs before each lens: a grey rectangle, where there is no depth either.

    Its place, shape and grey are drawn for each camera and stay for the episode.

    Attributes:
        share: Of the picture that is hidden, 0 to 0.5.
        most_oblong: Longest ratio of the sides.
    """

    share: float = 0.2
    most_oblong: float = 2.0

    @property
    def effect(self) -> str:
        """Say how much."""
        return f"a grey rectangle hides {100 * self.share:.0f} % of each camera, colour and depth"

    def begin(self, rng: Generator) -> Filter:
        """Draw a rectangle for each camera as it is first seen."""
        drawn: dict[str, tuple[slice, slice, int]] = {}

        def disturb(seen: Observation) -> Observation:
            images = dict(seen.images)
            depths = dict(seen.depths)
            for camera, image in seen.images.items():
                if camera not in drawn:
                    drawn[camera] = self._draw(rng, image.shape[0], image.shape[1])
                rows, columns, grey = drawn[camera]
                images[camera] = image.copy()
                images[camera][rows, columns] = grey
                if camera in depths:
                    depths[camera] = depths[camera].copy()
                    depths[camera][rows, columns] = 0.0
            return replace(seen, images=images, depths=depths)

        return disturb

    def _draw(self, rng: Generator, height: int, width: int) -> tuple[slice, slice, int]:
        """Return rows, columns and grey of a rectangle within the picture."""
        ratio = math.exp(rng.uniform(-1, 1) * math.log(self.most_oblong))
        rows = min(height, round(height * math.sqrt(self.share * ratio)))
        columns = min(width, round(width * math.sqrt(self.share / ratio)))
        top = int(rng.integers(height - rows + 1))
        left = int(rng.integers(width - columns + 1))
        grey = int(rng.integers(40, 216))
        return slice(top, top + rows), slice(left, left + columns), grey


def _convolve(image: UInt8Array, kernel: FloatArray) -> UInt8Array:
    return np.asarray(cv2.filter2D(image, -1, kernel), np.uint8)


def _line(length: float, angle: float) -> FloatArray:
    """Return a kernel that averages along a line of `length` [px] at `angle` [rad]."""
    offset = _offsets(length / 2)
    along = offset[0] * math.cos(angle) + offset[1] * math.sin(angle)
    aside = offset[1] * math.cos(angle) - offset[0] * math.sin(angle)
    inside = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(aside), 0, 1)
    return np.asarray(inside / inside.sum())


def _disc(radius: float) -> FloatArray:
    """Return a kernel that averages over a disc of `radius` [px]."""
    inside = np.clip(radius + 0.5 - np.hypot(*_offsets(radius)), 0, 1)
    return np.asarray(inside / inside.sum())


def _offsets(reach: float) -> Float32Array:
    """Return (2, n, n): x and y of every pixel as far as `reach` [px] from the middle one."""
    half = math.ceil(reach)
    axis = np.arange(-half, half + 1, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis))
