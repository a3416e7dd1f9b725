"""Arrays to `sensor_msgs/Image`, and back by the code that reads recordings too."""

from __future__ import annotations

import array

import numpy as np
from sensor_msgs.msg import Image

from vla_ros.observation.image_messages import (
    FORMATS,
    TO_RGB,
    AnyArray,
    PixelFormat,
    decode,
    read_compressed,
    read_depth,
    read_rgb,
)
from vla_ros.ros.stamps import to_time

__all__ = [
    "FORMATS",
    "TO_RGB",
    "AnyArray",
    "PixelFormat",
    "decode",
    "read_compressed",
    "read_depth",
    "read_rgb",
    "write_image",
]


def write_image(pixels: AnyArray, *, encoding: str, stamp_ns: int, frame_id: str) -> Image:
    """Return the message of an image (H, W) or (H, W, C) already in `encoding`."""
    pixel = FORMATS[encoding]
    if pixels.dtype != np.dtype(pixel.dtype):
        raise TypeError(f"encoding '{encoding}' takes {pixel.dtype}, got {pixels.dtype}")
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.header.stamp = to_time(stamp_ns)
    message.header.frame_id = frame_id
    message.step = pixels.shape[1] * pixel.channels * pixels.itemsize
    # the setter takes an array('B') as it is; bytes are 3 times and a list 500 times slower
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    message.data = data
    return message
