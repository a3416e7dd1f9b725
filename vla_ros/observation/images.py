"""Resizing camera images to what a policy takes, with OpenCV."""

from __future__ import annotations

from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import ObservationError
from vla_ros.observation.array_pool import ArrayPool

UInt8Array = NDArray[np.uint8]
Float32Array = NDArray[np.float32]
Pixels = TypeVar("Pixels", UInt8Array, Float32Array)

#: Depth encodings (REP 118) and the factor that makes metres of them.
TO_METRES = {"32FC1": 1.0, "16UC1": 0.001}

#: As integers, all finite numbers from 0 up are below infinity, and all others are not: one pass
#: over an image tells that nothing in it has to be mended.
NOT_FINITE = 0x7F800000


def fit_rgb(
    image: UInt8Array, width: int, height: int, pool: ArrayPool | None = None
) -> UInt8Array:
    """Return the image (H, W, 3) cut to the wanted aspect ratio and scaled to (height, width, 3).

    The middle of the image is kept. Shrinking averages areas, so that nothing aliases; what is
    more than twice too large is halved first, which takes less than half the time in all. An image
    of the wanted size comes back as it is; any other is written into an array of `pool`.
    """
    if image.shape[:2] == (height, width):
        return image
    pool = pool or ArrayPool()
    cut = _crop(image, width, height)
    while _halves(cut, width, height):
        half = pool.take((cut.shape[0] // 2, cut.shape[1] // 2, 3), np.uint8)
        cv2.resize(cut, half.shape[1::-1], dst=half, interpolation=cv2.INTER_AREA)
        cut = half
    shrinks = cut.shape[0] > height or cut.shape[1] > width
    mode = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled: UInt8Array = pool.take((height, width, 3), np.uint8)
    cv2.resize(cut, (width, height), dst=scaled, interpolation=mode)
    return scaled


def fit_depth(
    depth: Float32Array, width: int, height: int, pool: ArrayPool | None = None
) -> Float32Array:
    """Return depth (H, W) [m] cut and scaled like `fit_rgb`, taking the nearest pixel.

    Nearest and not averaged: a mean over an edge or a hole is a surface that is not there.
    """
    if depth.shape == (height, width):
        return depth
    cut = _crop(depth, width, height)
    scaled = (pool or ArrayPool()).take((height, width), np.float32)
    cv2.resize(cut, (width, height), dst=scaled, interpolation=cv2.INTER_NEAREST)
    return scaled


def without_holes(depth: Float32Array, pool: ArrayPool | None = None) -> Float32Array:
    """Return depth (..., H, W) [m] whose holes that are NaN or infinity are 0.

    Depth without such holes comes back as it is; else it is written once, into an array of `pool`.
    """
    if depth.view(np.uint32).max() < NOT_FINITE:
        return depth
    pool = pool or ArrayPool()
    filled, finite = pool.take(depth.shape, np.float32), pool.take(depth.shape, np.bool_)
    np.isfinite(depth, out=finite)
    filled.fill(0.0)
    np.copyto(filled, depth, where=finite)
    return filled


def to_metres(
    pixels: NDArray[Any], *, topic: str, encoding: str, pool: ArrayPool | None = None
) -> Float32Array:
    """Return the depth (H, W) [m] that is stored in an encoding of REP 118; holes are 0.

    NaN and infinity mark holes and far points (REP 117). Metres in which nothing has to be mended
    come back as they are; others are written into an array of `pool`.

    Raises:
        ObservationError: if there is no valid point.
    """
    if pixels.dtype == np.float32 and 0 < pixels.view(np.uint32).max() < NOT_FINITE:
        return pixels.astype(np.float32, copy=False)
    pool = pool or ArrayPool()
    depth: Float32Array = pool.take(pixels.shape, np.float32)
    good, finite = (pool.take(pixels.shape, np.bool_) for _ in range(2))
    np.multiply(pixels, np.float32(TO_METRES[encoding]), out=depth)
    np.greater(depth, 0.0, out=good)
    np.logical_and(good, np.isfinite(depth, out=finite), out=good)
    if not good.any():
        raise ObservationError(topic, "depth image holds no finite point above 0 m")
    np.copyto(depth, 0.0, where=np.logical_not(good, out=good))
    return depth


def _halves(image: UInt8Array, width: int, height: int) -> bool:
    """Whether both sides are even, and more than twice what is wanted: squares of four pixels."""
    rows, columns = image.shape[:2]
    return rows > 2 * height and columns > 2 * width and not (rows % 2 or columns % 2)


def _crop(image: Pixels, width: int, height: int) -> Pixels:
    rows, columns = image.shape[:2]
    kept_columns = min(columns, round(rows * width / height))
    kept_rows = min(rows, round(columns * height / width))
    left, top = (columns - kept_columns) // 2, (rows - kept_rows) // 2
    return image[top : top + kept_rows, left : left + kept_columns]
