"""Where the messages of an MCAP file lie, so that any of them can be read without the others.

https://mcap.dev/spec: a file is a row of records, each an opcode, a length and content; messages
are records too, mostly inside of compressed chunks.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import UserError

MAGIC = b"\x89MCAP0\r\n"
CHANNEL, MESSAGE, CHUNK = 0x04, 0x05, 0x06
_RECORD = struct.Struct("<BQ")
_MESSAGE = struct.Struct("<HIQQ")
#: Before a chunk's compression: start and end time, size, CRC.
_CHUNK_HEAD = 28
#: Unpacked chunks that are kept, at most [bytes].
KEPT_BYTES = 64 * 2**20

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Positions:
    """Where each message of a file lies, in the order in which they were written, (N,) each.

    Attributes:
        path: Of the file.
        topics: Names, by the number that `topic` has.
        topic: Of each message.
        chunk: Offset of the record of the chunk that holds it [bytes]; -1 if it is in none.
        offset: Of its data, in the unpacked chunk or in the file [bytes].
        length: Of its data [bytes].
    """

    path: Path
    topics: tuple[str, ...]
    topic: Integers
    chunk: Integers
    offset: Integers
    length: Integers

    def __len__(self) -> int:
        """Number of messages."""
        return len(self.topic)


class MessageReader:
    """Reads messages of a file by their positions; keeps the chunks that it unpacked last."""

    def __init__(self, path: Path, kept_bytes: int = KEPT_BYTES) -> None:
        """Read from a file, which is opened when the first message is wanted.

        Args:
            path: Of the file.
            kept_bytes: Unpacked chunks that are kept, at most; one always is.
        """
        self.path, self._kept_bytes = path, kept_bytes
        self._chunks: OrderedDict[int, bytes] = OrderedDict()
        self._size = 0

    def read(self, chunk: int, offset: int, length: int) -> bytes:
        """Return the data of a message.

        Raises:
            UserError: if the file is no longer the one whose positions were taken.
        """
        if chunk < 0:
            with self.path.open("rb") as file:
                file.seek(offset)
                data = file.read(length)
        else:
            data = self._unpacked(chunk)[offset : offset + length]
        if len(data) != length:
            raise UserError(f"{self.path}: has changed since it was indexed; load it anew")
        return data

    def _unpacked(self, chunk: int) -> bytes:
        if chunk in self._chunks:
            self._chunks.move_to_end(chunk)
            return self._chunks[chunk]
        with self.path.open("rb") as file:
            file.seek(chunk)
            head = file.read(_RECORD.size)
            code, length = _RECORD.unpack(head) if len(head) == _RECORD.size else (0, 0)
            if code != CHUNK:
                raise UserError(f"{self.path}: has changed since it was indexed; load it anew")
            unpacked = unpack(file.read(length))
        self._chunks[chunk] = unpacked
        self._size += len(unpacked)
        while self._size > self._kept_bytes and len(self._chunks) > 1:
            self._size -= len(self._chunks.popitem(last=False)[1])
        return unpacked


def find_messages(path: Path) -> Positions:
    """Return where the messages of a file lie; of one that was cut off, those that are whole.

    Raises:
        UserError: if it is no MCAP file.
    """
    topics: dict[int, str] = {}
    names: list[str] = []
    rows: list[tuple[int, int, int, int]] = []
    numbers: dict[int, int] = {}

    def take(code: int, content: memoryview, at: int, chunk: int) -> None:
        if code == CHANNEL:
            topics[struct.unpack_from("<H", content)[0]] = _topic(content)
        elif code == MESSAGE and len(content) >= _MESSAGE.size:
            number = _MESSAGE.unpack_from(content)[0]
            if number not in numbers:
                name = topics[number]
                if name not in names:
                    names.append(name)
                numbers[number] = names.index(name)
            length = len(content) - _MESSAGE.size
            rows.append((numbers[number], chunk, at + _MESSAGE.size, length))

    for code, content, at in _file_records(path):
        if code != CHUNK:
            take(code, memoryview(content), at, -1)
            continue
        try:
            unpacked = unpack(content)
        except (UserError, struct.error):
            break  # it ends here
        for inner, body, place in _records(unpacked):
            take(inner, body, place, at - _RECORD.size)
    table = np.array(rows, np.int64).reshape(-1, 4).T
    return Positions(
        path=path,
        topics=tuple(names),
        topic=table[0],
        chunk=table[1],
        offset=table[2],
        length=table[3],
    )


def unpack(content: bytes) -> bytes:
    """Return the records of a chunk's content.

    Raises:
        UserError: if they are packed in a way that is not known, or damaged.
    """
    size = struct.unpack_from("<Q", content, 16)[0]
    named = struct.unpack_from("<I", content, _CHUNK_HEAD)[0]
    at = _CHUNK_HEAD + 4
    compression = content[at : at + named].decode()
    at += named
    length = struct.unpack_from("<Q", content, at)[0]
    packed = content[at + 8 : at + 8 + length]
    try:
        if compression == "zstd":
            import zstandard  # an extra: `data`

            return zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)
        if compression == "lz4":
            import lz4.frame

            return bytes(lz4.frame.decompress(packed))
    except Exception as error:  # whatever the two raise of damaged bytes
        raise UserError(f"a chunk of {length} bytes cannot be unpacked: {error}") from error
    if compression or len(packed) != length:
        raise UserError(f"a chunk of {length} bytes, '{compression}', cannot be unpacked")
    return packed


def _file_records(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """Yield opcode, content and offset of the content, of every whole record of a file."""
    end = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise UserError(f"{path}: is no MCAP file")
        while len(head := file.read(_RECORD.size)) == _RECORD.size:
            code, length = _RECORD.unpack(head)
            at = file.tell()
            if at + length > end:
                return  # it was cut off
            if code in (CHANNEL, MESSAGE, CHUNK):
                yield code, file.read(length), at
            else:
                file.seek(length, 1)


def _records(data: bytes) -> Iterator[tuple[int, memoryview, int]]:
    """Yield opcode, content and offset of the content, of the records in a chunk."""
    view, at = memoryview(data), 0
    while at + _RECORD.size <= len(data):
        code, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if at + length > len(data):
            return
        yield code, view[at : at + length], at
        at += length


def _topic(content: memoryview) -> str:
    """Return the topic of a channel: after its number and that of its schema."""
    length = struct.unpack_from("<I", content, 4)[0]
    return bytes(content[8 : 8 + length]).decode()
