"""Messages on their way into an MCAP file: gathered, and compressed."""

from __future__ import annotations

import struct
import zlib
from enum import StrEnum

import lz4.frame
import zstandard
from mcap.opcode import Opcode
from mcap.records import ChunkIndex, MessageIndex

from vla_ros.data.message_summary import encode_records

#: Opcode, length of the rest, channel, sequence, log time, publish time; then the data.
MESSAGE = struct.Struct("<BQHIQQ")
#: Of a message's length what is not its data.
MESSAGE_FIELDS = MESSAGE.size - 9
#: Opcode, length of the rest, times of the first and last message, size, checksum.
CHUNK = struct.Struct("<BQQQQI")
#: Smaller parts than this are copied together [bytes].
SMALL = 64 * 1024


class Compression(StrEnum):
    """How chunks are compressed; the values are the names in the file."""

    NONE = ""
    LZ4 = "lz4"
    ZSTD = "zstd"


class OpenChunk:
    """Messages that are not in the file yet. Their bytes are referred to, not copied.

    Attributes:
        size: Of the records so far [bytes].
        start_ns: Earliest log time [ns].
        end_ns: Latest log time [ns].
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.size, self.start_ns, self.end_ns = 0, 0, 0
        self._parts: list[bytes] = []
        self._entries: dict[int, list[tuple[int, int]]] = {}

    def __len__(self) -> int:
        """Return the number of messages."""
        return len(self._parts) // 2

    @property
    def counts(self) -> dict[int, int]:
        """Messages by channel."""
        return {channel: len(entries) for channel, entries in self._entries.items()}

    def add(self, channel: int, sequence: int, log_ns: int, publish_ns: int, data: bytes) -> None:
        """Append a message; the times are in [ns]."""
        self.start_ns = min(self.start_ns, log_ns) if self._parts else log_ns
        self.end_ns = max(self.end_ns, log_ns)
        self._entries.setdefault(channel, []).append((log_ns, self.size))
        length = MESSAGE_FIELDS + len(data)
        head = MESSAGE.pack(
            Opcode.MESSAGE, length, channel, sequence & 0xFFFFFFFF, log_ns, publish_ns
        )
        self._parts += (head, data)
        self.size += MESSAGE.size + len(data)

    def encode(
        self, compression: Compression, level: int, offset: int
    ) -> tuple[list[bytes], ChunkIndex]:
        """Return the chunk and its message indexes as they follow `offset` in the file.

        Args:
            compression: How.
            level: How hard; what it means depends on `compression`.
            offset: Where the chunk begins [bytes].
        """
        crc, parts = 0, _gather(self._parts)
        for part in parts:
            crc = zlib.crc32(part, crc)
        packed = _compress(parts, self.size, compression, level)
        size = sum(map(len, packed))
        name = compression.value.encode()
        tail = struct.pack(f"<I{len(name)}sQ", len(name), name, size)
        length = CHUNK.size - 9 + len(tail) + size
        head = CHUNK.pack(Opcode.CHUNK, length, self.start_ns, self.end_ns, self.size, crc) + tail
        at = offset + len(head) + size
        index = ChunkIndex(
            chunk_start_offset=offset,
            chunk_length=len(head) + size,
            compression=compression.value,
            compressed_size=size,
            uncompressed_size=self.size,
            message_start_time=self.start_ns,
            message_end_time=self.end_ns,
            message_index_offsets={},
            message_index_length=0,
        )
        indexes = encode_indexes(self._entries, index, at)
        return [head, *packed, indexes], index


def encode_indexes(
    entries: dict[int, list[tuple[int, int]]], index: ChunkIndex, offset: int
) -> bytes:
    """Return the message indexes of a chunk, and note in `index` where they are.

    Args:
        entries: Log time [ns] and offset in the chunk [bytes] of every message, by channel.
        index: Of the chunk; is completed.
        offset: Where they begin [bytes].
    """
    parts, at = [], offset
    for channel, found in entries.items():
        index.message_index_offsets[channel] = at
        # by time, as the reference reader expects them
        parts.append(encode_records([MessageIndex(channel_id=channel, records=sorted(found))]))
        at += len(parts[-1])
    index.message_index_length = at - offset
    return b"".join(parts)


def _gather(parts: list[bytes]) -> list[bytes]:
    """Return the parts with small neighbours put together.

    Compressing lets go of Python's lock for each of them, and on a busy machine it takes
    milliseconds to get it back.
    """
    found: list[bytes] = []
    small: list[bytes] = []
    for part in parts:
        if len(part) < SMALL:
            small.append(part)
            continue
        found += (b"".join(small), part)
        small = []
    return [*found, b"".join(small)]


def _compress(parts: list[bytes], size: int, compression: Compression, level: int) -> list[bytes]:
    """Return the parts compressed as one frame; both libraries let go of Python's lock."""
    if compression is Compression.NONE:
        return parts
    if compression is Compression.ZSTD:
        stream = zstandard.ZstdCompressor(level=level).compressobj(size=size)
        return [*map(stream.compress, parts), stream.flush()]
    frame = lz4.frame.LZ4FrameCompressor(compression_level=level)
    begun = frame.begin(source_size=size)
    return [begun, *map(frame.compress, parts), frame.flush()]
