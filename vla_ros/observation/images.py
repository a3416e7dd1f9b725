"""Resizing camera images to what a policy takes, with OpenCV."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]
Float32Array = NDArray[np.float32]
Pixels = TypeVar("Pixels", UInt8Array, Float32Array)


def fit_rgb(image: UInt8Array, width: int, height: int) -> UInt8Array:
    """Return the image (H, W, 3) cut to the wanted aspect ratio and scaled to (height, width, 3).

    The middle of the image is kept. Shrinking averages areas, so that nothing aliases.
    """
    if image.shape[:2] == (height, width):
        return image
    cut = _crop(image, width, height)
    shrinks = cut.shape[0] > height or cut.shape[1] > width
    mode = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(cut, (width, height), interpolation=mode), np.uint8)


def fit_depth(depth: Float32Array, width: int, height: int) -> Float32Array:
    """Return depth (H, W) [m] cut and scaled like `fit_rgb`, taking the nearest pixel.

    Nearest and not averaged: a mean over an edge or a hole is a surface that is not there.
    """
    if depth.shape == (height, width):
        return depth
    cut = _crop(depth, width, height)
    scaled = cv2.resize(cut, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(scaled, np.float32)


def _crop(image: Pixels, width: int, height: int) -> Pixels:
    rows, columns = image.shape[:2]
    kept_columns = min(columns, round(rows * width / height))
    kept_rows = min(rows, round(columns * height / width))
    left, top = (columns - kept_columns) // 2, (rows - kept_rows) // 2
    return image[top : top + kept_rows, left : left + kept_columns]
