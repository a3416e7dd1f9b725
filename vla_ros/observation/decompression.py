"""JPEG, PNG and compressed depth to arrays, refusing what is not as the contract says.

Size, channels and bits are read from the header first, so that nothing is decoded that would be
refused. JPEG is decoded by TurboJPEG where PyTurboJPEG and its library are installed, straight
into the array that is handed out; else by OpenCV, as PNG is.
"""

from __future__ import annotations

import importlib
import logging
import struct
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import ObservationError
from vla_ros.observation.array_pool import ArrayPool
from vla_ros.observation.image_header import read_header
from vla_ros.observation.images import Float32Array, UInt8Array, to_metres

#: As `compressed_depth_image_transport` writes: what it is (int32), then two float32.
DEPTH_HEADER = struct.Struct("<iff")
#: Pixels are to be read as they are stored: what the camera saw, not how it was held.
AS_STORED = cv2.IMREAD_IGNORE_ORIENTATION

#: Decodes the bytes of a JPEG into an array (H, W, 3), RGB; false if it cannot.
DecodeJpeg = Callable[[bytes, UInt8Array], bool]

_log = logging.getLogger(__name__)


def decompress_rgb(
    data: bytes, *, topic: str, encoding: str, width: int, height: int, pool: ArrayPool
) -> UInt8Array:
    """Return the colours (height, width, 3) of a JPEG or PNG as RGB, in an array of `pool`.

    Raises:
        ObservationError: if it is another format, size or number of channels, or is damaged.
    """
    _check_header(data, topic, (encoding, width, height, 3, 8))
    colours: UInt8Array = pool.take((height, width, 3), np.uint8)
    decode = find_jpeg_decoder() if encoding == "jpeg" else decode_with_opencv
    if not decode(data, colours):
        raise ObservationError(topic, f"{encoding} image of {len(data)} bytes cannot be decoded")
    return colours


def decompress_depth(
    data: bytes, *, topic: str, encoding: str, width: int, height: int, pool: ArrayPool
) -> Float32Array:
    """Return the depth (height, width) [m] of what `compressed_depth_image_transport` sends.

    It is a PNG of 16 bits behind a header of 12 bytes. With `16UC1` it holds millimetres; with
    `32FC1` inverse depth, a / (value - b) [m], where a and b are in the header. Holes are 0.

    Raises:
        ObservationError: if anything is not so, or there is no valid point.
    """
    if len(data) <= DEPTH_HEADER.size:
        raise ObservationError(topic, f"{len(data)} bytes are no compressed depth image")
    _, a, b = DEPTH_HEADER.unpack_from(data)
    image = data[DEPTH_HEADER.size :]
    _check_header(image, topic, ("png", width, height, 1, 16))
    pixels = _imdecode(image, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ObservationError(topic, f"png image of {len(image)} bytes cannot be decoded")
    if encoding == "16UC1":
        return to_metres(pixels, topic=topic, encoding=encoding, pool=pool)
    if not (np.isfinite([a, b]).all() and a > 0.0):
        raise ObservationError(topic, f"depth is quantized with {a} and {b}; no depth has those")
    metres: Float32Array = pool.take(pixels.shape, np.float32)
    np.subtract(pixels, np.float32(b), out=metres)
    with np.errstate(divide="ignore"):
        np.divide(np.float32(a), metres, out=metres)
    np.copyto(metres, 0.0, where=pixels == 0)
    return to_metres(metres, topic=topic, encoding=encoding, pool=pool)


@cache
def find_jpeg_decoder() -> DecodeJpeg:
    """Return the best decoder of JPEG that is installed."""
    try:
        turbojpeg = importlib.import_module("turbojpeg")
        return _decoder_with_turbojpeg(turbojpeg)
    except ImportError:
        return decode_with_opencv
    except (OSError, RuntimeError) as error:  # libturbojpeg is missing, or not as we know it
        _log.warning("JPEG is decoded by OpenCV: PyTurboJPEG cannot be used: %s", error)
        return decode_with_opencv


def _decoder_with_turbojpeg(turbojpeg: ModuleType) -> DecodeJpeg:
    """Return a decoder that takes no damage.

    PyTurboJPEG only warns of an image that is damaged, and leaves in the array whatever was there:
    the image before, say. The method that does so is private, and is made to raise.

    Raises:
        RuntimeError: if the library is not found, or PyTurboJPEG has no such method.
    """
    reporting = "_TurboJPEG__report_error"
    if not callable(getattr(turbojpeg.TurboJPEG, reporting, None)):
        raise RuntimeError("this version reports damage in an unknown way")

    def report(self: object, handle: object) -> None:
        raise OSError("the image is damaged")

    strict = type("StrictTurboJPEG", (turbojpeg.TurboJPEG,), {reporting: report})
    decode, rgb = strict().decode, turbojpeg.TJPF_RGB

    def decode_with_turbojpeg(data: bytes, colours: UInt8Array) -> bool:
        try:
            return decode(data, pixel_format=rgb, dst=colours) is colours
        except (OSError, ValueError):
            return False

    return decode_with_turbojpeg


def decode_with_opencv(data: bytes, colours: UInt8Array) -> bool:
    """Decode a JPEG or PNG into an array (H, W, 3), RGB; return whether that was possible."""
    pixels = _imdecode(data, cv2.IMREAD_COLOR | AS_STORED)
    if pixels is None or pixels.shape != colours.shape:
        return False
    cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=colours)
    return True


def _imdecode(data: bytes, flags: int) -> NDArray[Any] | None:
    try:
        pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    return pixels


def _check_header(data: bytes, topic: str, expected: tuple[str, int, int, int, int]) -> None:
    try:
        header = read_header(data)
    except ValueError as error:
        raise ObservationError(topic, f"the image cannot be decoded: {error}") from error
    encoding, width, height, channels, bits = expected
    if header.encoding != encoding:
        raise ObservationError(topic, f"the image is {header.encoding}, expected {encoding}")
    if (header.width, header.height) != (width, height):
        raise ObservationError(
            topic,
            f"image is {header.width}x{header.height} px, the contract says {width}x{height} px",
        )
    if (header.channels, header.bits) != (channels, bits):
        raise ObservationError(
            topic,
            f"image has {header.channels} channels of {header.bits} bits, expected {channels} of "
            f"{bits} bits",
        )
