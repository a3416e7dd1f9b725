"""The messages between a robot and a server of graphs.

A message is a sequence number, 8 bytes, little-endian, and a msgpack map behind it. Arrays travel
as their bytes, with type and shape beside them. Nothing of what comes is ever executed: there is
no pickle, and no type beyond those of `DTYPES`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

import msgpack
import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import VlaError
from vla_ros.engine.engine import Arrays, EngineDescription, TensorSpec

#: Of the protocol: both ends must speak the same.
VERSION = 1
#: Types that travel, by name; little-endian always.
DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
        *("float16", "float32", "float64"),
    )
}
#: Longest message [bytes].
MAX_BYTES = 64 * 2**20
#: Most dimensions of an array, entries of a map or list, and bytes of a text.
MAX_DIMENSIONS, MAX_ENTRIES, MAX_TEXT = 8, 1024, 65536
_PREFIX = struct.Struct("<Q")


class MalformedMessage(VlaError):
    """A message that is not what it should be.

    Attributes:
        reason: What was expected, and what came.
    """

    def __init__(self, reason: str) -> None:
        """Keep the reason for whoever is told."""
        super().__init__(reason)
        self.reason = reason


def pack(sequence: int, body: Mapping[str, Any]) -> bytes:
    """Return a message; arrays in `body` are to be packed with `pack_arrays` before."""
    packed: bytes = msgpack.packb(body, use_bin_type=True)
    return _PREFIX.pack(sequence) + packed


def unpack_sequence(message: bytes) -> int:
    """Return the sequence number of a message; nothing else of it is read.

    Raises:
        MalformedMessage: if it is too short to have one.
    """
    if len(message) < _PREFIX.size:
        raise MalformedMessage(f"expected {_PREFIX.size} bytes at least, got {len(message)}")
    return int(_PREFIX.unpack_from(message)[0])


def unpack(message: bytes) -> dict[str, Any]:
    """Return the map of a message.

    Raises:
        MalformedMessage: if it is too long, or no map of the agreed kind.
    """
    unpack_sequence(message)
    if len(message) > MAX_BYTES:
        raise MalformedMessage(f"expected {MAX_BYTES} bytes at most, got {len(message)}")
    try:
        body = msgpack.unpackb(
            memoryview(message)[_PREFIX.size :],
            raw=False,
            strict_map_key=True,
            max_bin_len=MAX_BYTES,
            max_str_len=MAX_TEXT,
            max_array_len=MAX_ENTRIES,
            max_map_len=MAX_ENTRIES,
            max_ext_len=0,
        )
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise MalformedMessage(
            f"is no msgpack of the agreed kind: {error or type(error).__name__}"
        ) from error
    if not isinstance(body, dict) or not all(isinstance(key, str) for key in body):
        raise MalformedMessage(f"expected a map with texts as keys, got {type(body).__name__}")
    return body


def pack_arrays(arrays: Arrays) -> dict[str, dict[str, Any]]:
    """Return arrays as plain values.

    Raises:
        ValueError: if one has a type that does not travel; names it.
    """
    packed = {}
    for name, array in arrays.items():
        kind = DTYPES.get(array.dtype.name)
        if kind is None:
            raise ValueError(f"{name}: {array.dtype} does not travel; {', '.join(DTYPES)} do")
        value = np.ascontiguousarray(array, kind)
        data = value.tobytes() if value.size == 0 else value.reshape(-1).view(np.uint8).data
        packed[name] = {"dtype": array.dtype.name, "shape": list(array.shape), "data": data}
    return packed


def unpack_arrays(packed: object) -> dict[str, NDArray[Any]]:
    """Return arrays; they are read-only views of the message.

    Raises:
        MalformedMessage: if one is not what its type and shape say; names it.
    """
    if not isinstance(packed, dict):
        raise MalformedMessage(f"expected a map of arrays, got {type(packed).__name__}")
    return {name: _array(name, value) for name, value in packed.items()}


def _array(name: str, packed: object) -> NDArray[Any]:
    if not isinstance(packed, dict) or set(packed) != {"dtype", "shape", "data"}:
        raise MalformedMessage(f"{name}: expected dtype, shape and data")
    kind, shape, data = packed["dtype"], packed["shape"], packed["data"]
    if not isinstance(kind, str) or kind not in DTYPES:
        raise MalformedMessage(f"{name}: expected one of {', '.join(DTYPES)}, got {kind!r:.40}")
    if not _is_shape(shape):
        raise MalformedMessage(f"{name}: expected a shape, got {shape!r:.80}")
    dtype = DTYPES[kind]
    wanted = math.prod(shape) * dtype.itemsize
    if not isinstance(data, bytes) or len(data) != wanted:
        came = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
        raise MalformedMessage(
            f"{name}: expected {wanted} bytes for {kind} of shape {tuple(shape)}, got {came}"
        )
    return np.frombuffer(data, dtype).reshape(shape)


def _is_shape(shape: object) -> TypeGuard[list[int]]:
    return (
        isinstance(shape, list)
        and len(shape) <= MAX_DIMENSIONS
        and all(type(size) is int and 0 <= size <= MAX_BYTES for size in shape)
    )


def pack_description(description: EngineDescription) -> dict[str, Any]:
    """Return what an engine says of itself as plain values."""
    return {
        "backend": description.backend,
        "version": description.version,
        "device": description.device,
        "precision": description.precision,
        "graph": description.graph,
        "sha256": description.sha256,
        "inputs": _pack_specs(description.inputs),
        "outputs": _pack_specs(description.outputs),
        "notes": {str(key): str(value) for key, value in description.notes.items()},
    }


def unpack_description(packed: object) -> EngineDescription:
    """Return what a server's engine says of itself.

    Raises:
        MalformedMessage: if something is missing or of another kind; names it.
    """
    texts = ("backend", "version", "device", "precision", "graph", "sha256")
    if not isinstance(packed, dict):
        raise MalformedMessage(f"expected a description, got {type(packed).__name__}")
    for key in texts:
        if not isinstance(packed.get(key), str):
            raise MalformedMessage(f"description: {key}: expected a text")
    notes = packed.get("notes")
    return EngineDescription(
        **{key: packed[key] for key in texts},
        inputs=_unpack_specs("inputs", packed.get("inputs")),
        outputs=_unpack_specs("outputs", packed.get("outputs")),
        notes={str(k): str(v) for k, v in notes.items()} if isinstance(notes, dict) else {},
    )


def _pack_specs(specs: Iterable[TensorSpec]) -> list[list[Any]]:
    return [[spec.name, spec.dtype, list(spec.shape)] for spec in specs]


def _unpack_specs(what: str, packed: object) -> tuple[TensorSpec, ...]:
    if not isinstance(packed, list):
        raise MalformedMessage(f"description: {what}: expected a list")
    specs = []
    for item in packed:
        match item:
            case [str(name), str(dtype), [*shape]] if (
                dtype in DTYPES
                and len(shape) <= MAX_DIMENSIONS
                and all(isinstance(n, str) or (type(n) is int and n >= 0) for n in shape)
            ):
                specs.append(TensorSpec(name=name, dtype=dtype, shape=tuple(shape)))
            case _:
                raise MalformedMessage(f"description: {what}: {item!r:.80} is no tensor")
    return tuple(specs)
