"""What the first bytes of a JPEG or PNG say, before anything of it is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
#: Channels by a PNG's colour type.
PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
#: JPEG markers that begin a frame: those from 0xC0 that hold neither tables nor conditioning.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: JPEG markers that stand alone, without a length.
ALONE = frozenset({0x01, *range(0xD0, 0xD8)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """Format (`jpeg` or `png`), size [px], channels of a pixel, and bits of a channel."""

    encoding: str
    width: int
    height: int
    channels: int
    bits: int


def read_header(data: bytes) -> ImageHeader:
    """Return what an encoded image says about itself.

    Raises:
        ValueError: if it is neither, or ends before it has said so, or before its end.
    """
    if data.startswith(PNG):
        return _read_png(data)
    if data.startswith(JPEG):
        return _read_jpeg(data)
    raise ValueError(f"{len(data)} bytes that are neither JPEG nor PNG")


def _read_png(data: bytes) -> ImageHeader:
    if len(data) < 33 or b"IEND" not in data[-12:]:
        raise ValueError(f"a PNG of {len(data)} bytes that ends too early")
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    return ImageHeader(
        encoding="png",
        width=width,
        height=height,
        channels=PNG_CHANNELS.get(colour, 0),
        bits=8 if colour == 3 else bits,  # a palette's colours have 8
    )


def _read_jpeg(data: bytes) -> ImageHeader:
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in FRAMES:
            break
        if marker == 0xFF:  # filling
            at += 1
        else:
            at += 2 if marker in ALONE else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    else:
        raise ValueError(f"a JPEG of {len(data)} bytes without a frame")
    # cameras fill up with zeros behind the end
    if not data.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise ValueError(f"a JPEG of {len(data)} bytes that ends too early")
    bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
    return ImageHeader(encoding="jpeg", width=width, height=height, channels=channels, bits=bits)
