"""`sensor_msgs/Image` and `CompressedImage` to arrays, refusing what does not add up.

The messages may be `rclpy`'s or those that `rosbags` reads from a file: both have the same
attributes, so that what is recorded and what is live becomes the same feature.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import ObservationError
from vla_ros.observation.array_pool import ArrayPool
from vla_ros.observation.decompression import decompress_depth, decompress_rgb
from vla_ros.observation.images import to_metres

AnyArray = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]
UInt8Array = NDArray[np.uint8]
Float32Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """How one ROS encoding lies in memory: element type and channels per pixel."""

    dtype: str
    channels: int


FORMATS = {
    "rgb8": PixelFormat(dtype="u1", channels=3),
    "bgr8": PixelFormat(dtype="u1", channels=3),
    "rgba8": PixelFormat(dtype="u1", channels=4),
    "bgra8": PixelFormat(dtype="u1", channels=4),
    "mono8": PixelFormat(dtype="u1", channels=1),
    "8UC3": PixelFormat(dtype="u1", channels=3),
    "16UC1": PixelFormat(dtype="u2", channels=1),
    "mono16": PixelFormat(dtype="u2", channels=1),
    "32FC1": PixelFormat(dtype="f4", channels=1),
}

#: cv2 conversion of each colour encoding into RGB; None: it already is.
TO_RGB: dict[str, int | None] = {
    "rgb8": None,
    "bgr8": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
}


def decode(message: Any, *, topic: str, encoding: str, width: int, height: int) -> AnyArray:
    """Return a view of the pixels (H, W) or (H, W, C); no copy when rows are contiguous.

    Raises:
        ObservationError: if encoding, size, row length or data length are not as expected.
    """
    if message.encoding != encoding:
        raise ObservationError(
            topic, f"encoding is '{message.encoding}', the contract says '{encoding}'"
        )
    if (message.width, message.height) != (width, height):
        raise ObservationError(
            topic,
            f"image is {message.width}x{message.height} px, the contract says {width}x{height} px",
        )
    pixel = FORMATS[encoding]
    dtype = np.dtype(pixel.dtype).newbyteorder(">" if message.is_bigendian else "<")
    row = width * pixel.channels * dtype.itemsize
    if message.step < row or len(message.data) != message.step * height:
        raise ObservationError(
            topic,
            f"{len(message.data)} bytes with step {message.step}; {width}x{height} px in "
            f"'{encoding}' needs a step of at least {row} and step x height bytes",
        )
    flat = np.frombuffer(message.data, np.uint8).reshape(height, message.step)[:, :row]
    pixels: AnyArray = np.ascontiguousarray(flat).view(dtype)
    shape = (height, width) if pixel.channels == 1 else (height, width, pixel.channels)
    return pixels.reshape(shape)


def read_rgb(
    message: Any,
    *,
    topic: str,
    encoding: str,
    width: int,
    height: int,
    pool: ArrayPool | None = None,
) -> UInt8Array:
    """Return the colours (H, W, 3) as RGB.

    Those that are RGB already are the message's own memory, which lives as long as they do; others
    are written once, into an array of `pool`.
    """
    pixels = decode(message, topic=topic, encoding=encoding, width=width, height=height)
    conversion = TO_RGB[encoding]
    if conversion is None:
        return pixels.astype(np.uint8, copy=False)
    colours: UInt8Array = (pool or ArrayPool()).take((height, width, 3), np.uint8)
    cv2.cvtColor(pixels, conversion, dst=colours)
    return colours


def read_depth(
    message: Any,
    *,
    topic: str,
    encoding: str,
    width: int,
    height: int,
    pool: ArrayPool | None = None,
) -> Float32Array:
    """Return the depth (H, W) in [m]; holes are 0.

    NaN and infinity mark holes and far points (REP 117), so they become 0. An image with no valid
    point at all comes from a sensor that sees nothing and is refused. Metres in which nothing has
    to be mended are the message's own memory; others are written into an array of `pool`.
    """
    pixels = decode(message, topic=topic, encoding=encoding, width=width, height=height)
    return to_metres(pixels, topic=topic, encoding=encoding, pool=pool)


def read_compressed(
    message: Any,
    *,
    topic: str,
    encoding: str,
    width: int,
    height: int,
    depth: bool,
    pool: ArrayPool,
) -> UInt8Array | Float32Array:
    """Return the colours (H, W, 3) as RGB, or the depth (H, W) in [m], in an array of `pool`.

    Raises:
        ObservationError: if it is not what the contract says, or is damaged.
    """
    _check_format(message.format, topic, encoding, depth)
    decompress = decompress_depth if depth else decompress_rgb
    return decompress(
        memoryview(message.data).tobytes(),
        topic=topic,
        encoding=encoding,
        width=width,
        height=height,
        pool=pool,
    )


def _check_format(written: str, topic: str, encoding: str, depth: bool) -> None:
    """Check a text such as "jpeg", "rgb8; jpeg compressed bgr8", "16UC1; compressedDepth png"."""
    words = re.findall(r"\w+", written.lower().replace("jpg", "jpeg"))
    if depth:
        wanted, good = f"{encoding}; compressedDepth png", "compresseddepth" in words
        good = good and encoding.lower() in words and "rvl" not in words
    else:
        wanted, good = encoding, encoding in words and "compresseddepth" not in words
    if not good:
        raise ObservationError(topic, f"format is '{written}', the contract says '{wanted}'")
