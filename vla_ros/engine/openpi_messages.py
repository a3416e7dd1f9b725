"""The messages of openpi's protocol: msgpack; arrays are maps of bytes, type and shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

#: Kinds of numpy types that are read: an array of objects would be a way to run code.
_KINDS = "biuf"


def pack(values: Mapping[str, Any]) -> bytes:
    """Return a message of texts, numbers and arrays."""
    packed: bytes = msgpack.packb(dict(values), default=_pack_array)
    return packed


def unpack(message: bytes) -> Any:
    """Return what a message says.

    Raises:
        ValueError: if it is malformed; says how.
    """
    try:
        return msgpack.unpackb(message, object_hook=_unpack_array, strict_map_key=False)
    except ValueError:
        raise
    except Exception as error:  # msgpack's errors, and numpy's of a wrong shape or type
        raise ValueError(str(error) or type(error).__name__) from error


def _pack_array(value: Any) -> Any:
    if not isinstance(value, np.ndarray | np.generic) or value.dtype.kind not in _KINDS:
        raise TypeError(f"expected text, numbers or arrays of numbers, got {type(value).__name__}")
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    return {
        b"__ndarray__": True,
        b"data": value.tobytes(),
        b"dtype": value.dtype.str,
        b"shape": value.shape,
    }


def _unpack_array(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" not in value and b"__npgeneric__" not in value:
        return value
    dtype = np.dtype(value[b"dtype"])
    if dtype.kind not in _KINDS:
        raise ValueError(f"an array of the type {value[b'dtype']!r} is not read")
    if b"__npgeneric__" in value:
        return dtype.type(value[b"data"])
    return np.frombuffer(value[b"data"], dtype).reshape(value[b"shape"])
