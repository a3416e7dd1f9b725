"""Completes an MCAP file that was cut off: its whole records stay, and its index is written.

Only the torn end is taken away. Chunks are not decoded, but for the newest: after a power cut the
disk may not have got what the file's length promises.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, ChunkIndex, Header, Message, MessageIndex, Schema
from mcap.stream_reader import CRCValidationError, breakup_chunk

from vla_ros.core.errors import UserError
from vla_ros.data.message_chunk import encode_indexes
from vla_ros.data.message_summary import MAGIC, Summary, encode_records

#: Opcode and length of every record.
RECORD = struct.Struct("<BQ")
#: The end of a file whose checksums are verified [bytes]: more than is written between two syncs.
VERIFIED_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What was done to a file.

    Attributes:
        summary: What is in it now.
        removed: Torn bytes that were taken from its end.
        was_whole: Whether there was nothing to do.
    """

    summary: Summary
    removed: int
    was_whole: bool


def complete_file(path: Path) -> Completion:
    """Complete a file that was cut off; one that is whole is only read.

    Raises:
        UserError: if it is no MCAP file, or of another kind than `MessageFile` writes.
        OSError: if its end cannot be written.
    """
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size < len(MAGIC):
            return _begin_anew(file, size)
        if file.read(len(MAGIC)) != MAGIC:
            raise UserError(f"{path}: is no MCAP file")
        scan = _Scan(file, size, path)
        if not scan.begun:
            return _begin_anew(file, size)
        if scan.whole:
            return Completion(summary=scan.summary, removed=0, was_whole=True)
        _finish(file, scan.end, scan.reindexed, scan.summary)
        return Completion(summary=scan.summary, removed=size - scan.end, was_whole=False)


class _Scan:
    """Goes over the records of a file as far as they are whole.

    Attributes:
        summary: What was found.
        begun: Whether there is a header.
        end: Where the last whole record of data ends [bytes].
        reindexed: Message indexes that the last chunk lost; they follow `end`.
        whole: Whether the file has its footer.
    """

    def __init__(self, file: BinaryIO, size: int, path: Path) -> None:
        self.summary, self.begun, self.whole, self.reindexed = Summary(), False, False, b""
        self._file, self._size, self._path = file, size, path
        self._chunk: ChunkIndex | None = None
        self._counts: dict[int, int] = {}
        self.end = len(MAGIC)
        while (found := self._next()) is not None:
            if not self._take(*found):
                break
        self._settle(at_end=not self.whole)

    def _next(self) -> tuple[int, int, int] | None:
        """Return opcode, begin and length of the next record; None if it is torn."""
        self._file.seek(self.end)
        head = self._file.read(RECORD.size)
        if len(head) < RECORD.size:
            return None
        opcode, length = RECORD.unpack(head)
        begin = self.end + RECORD.size
        if opcode not in Opcode._value2member_map_ or begin + length > self._size:
            return None
        return opcode, begin, length

    def _take(self, opcode: int, begin: int, length: int) -> bool:
        """Take note of a record; return whether more data may follow."""
        if opcode == Opcode.DATA_END:
            self.whole = self._has_footer()
            return False
        if opcode == Opcode.CHUNK:
            self._settle(at_end=False)
            index = self._read_chunk_head(begin, length)
            if begin + length > self._size - VERIFIED_BYTES and not self._is_sound(begin, index):
                return False
            self._chunk = index
        elif opcode == Opcode.MESSAGE_INDEX and self._chunk is not None:
            found = MessageIndex.read(ReadDataStream(self._file))
            self._chunk.message_index_offsets[found.channel_id] = self.end
            self._chunk.message_index_length += RECORD.size + length
            self._counts[found.channel_id] = len(found.records)
        elif opcode == Opcode.HEADER:
            Header.read(ReadDataStream(self._file))
            self.begun = True
        elif opcode == Opcode.SCHEMA:
            schema = Schema.read(ReadDataStream(self._file))
            self.summary.schemas[schema.id] = schema
        elif opcode == Opcode.CHANNEL:
            channel = Channel.read(ReadDataStream(self._file))
            self.summary.channels[channel.id] = channel
        else:
            raise UserError(
                f"{self._path}: holds the record {Opcode(opcode).name} at byte {self.end}, which "
                "this recorder does not write; complete it with `mcap recover` "
                "(https://mcap.dev/guides/cli)"
            )
        self.end = begin + length
        return True

    def _settle(self, *, at_end: bool) -> None:
        """Add the chunk whose indexes were read; `at_end` if some of them may be torn off."""
        chunk, self._chunk = self._chunk, None
        counts, self._counts = self._counts, {}
        if chunk is None:
            return
        if at_end:
            self.end = chunk.chunk_start_offset + chunk.chunk_length
            entries, counts = self._reread(chunk)
            chunk.message_index_offsets.clear()
            self.reindexed = encode_indexes(entries, chunk, self.end)
        self.summary.add_chunk(chunk, counts)

    def _read_chunk_head(self, begin: int, length: int) -> ChunkIndex:
        start_ns, end_ns, size, _, name = struct.unpack("<QQQII", self._file.read(32))
        compression = self._file.read(name).decode()
        return ChunkIndex(
            chunk_start_offset=self.end,
            chunk_length=begin + length - self.end,
            compression=compression,
            compressed_size=length - 32 - name - 8,
            uncompressed_size=size,
            message_start_time=start_ns,
            message_end_time=end_ns,
            message_index_offsets={},
            message_index_length=0,
        )

    def _is_sound(self, begin: int, index: ChunkIndex) -> bool:
        """Return whether a chunk's bytes are those that were written."""
        import zstandard

        self._file.seek(begin)
        try:
            breakup_chunk(Chunk.read(ReadDataStream(self._file)), validate_crc=True)
        except (CRCValidationError, EOFError, RuntimeError, zstandard.ZstdError):
            return False
        return True

    def _reread(
        self, index: ChunkIndex
    ) -> tuple[dict[int, list[tuple[int, int]]], dict[int, int]]:
        """Return time and place of every message of a chunk, and their number, by channel."""
        self._file.seek(index.chunk_start_offset + RECORD.size)
        entries: dict[int, list[tuple[int, int]]] = {}
        at = 0
        for record in breakup_chunk(Chunk.read(ReadDataStream(self._file))):
            if isinstance(record, Message):
                entries.setdefault(record.channel_id, []).append((record.log_time, at))
                at += RECORD.size + 22 + len(record.data)
        return entries, {channel: len(found) for channel, found in entries.items()}

    def _has_footer(self) -> bool:
        """Return whether the file ends as it should; its end was written in one go."""
        self._file.seek(max(0, self._size - len(MAGIC)))
        return self._size > self.end + len(MAGIC) and self._file.read() == MAGIC


def _begin_anew(file: BinaryIO, size: int) -> Completion:
    """Make a whole file without messages of one that has not even a header."""
    header = MAGIC + encode_records([Header(profile="ros2", library="vla_ros")])
    summary = Summary()
    _finish(file, 0, header, summary)
    return Completion(summary=summary, removed=size, was_whole=False)


def _finish(file: BinaryIO, end: int, more: bytes, summary: Summary) -> None:
    """Cut the file at `end` [bytes], append `more` and the index, and wait for the disk."""
    file.truncate(end)
    file.seek(end)
    file.write(more + summary.encode(end + len(more)))
    file.flush()
    os.fsync(file.fileno())
