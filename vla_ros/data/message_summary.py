"""What ends an MCAP file: its index, by which readers find messages without reading all of it.

https://mcap.dev/spec. The records are the `mcap` package's; only their order is ours, since its
writer can neither go on with a file that was cut off nor choose how hard to compress.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    ChunkIndex,
    DataEnd,
    Footer,
    McapRecord,
    Schema,
    Statistics,
    SummaryOffset,
)

MAGIC = b"\x89MCAP0\r\n"


@dataclass(slots=True, kw_only=True)
class Summary:
    """Schemas, channels and chunks of a file.

    Attributes:
        schemas: By number.
        channels: By number.
        chunks: Where each is, in the order of the file.
        counts: Messages by channel.
        start_ns: Earliest log time [ns]; 0 without messages.
        end_ns: Latest log time [ns].
    """

    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    chunks: list[ChunkIndex] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)
    start_ns: int = 0
    end_ns: int = 0

    @property
    def messages(self) -> int:
        """How many messages are in the chunks."""
        return sum(self.counts.values())

    def counts_by_topic(self) -> dict[str, int]:
        """Return the number of messages of every topic."""
        return {item.topic: self.counts.get(item.id, 0) for item in self.channels.values()}

    def add_chunk(self, index: ChunkIndex, counts: Mapping[int, int]) -> None:
        """Take note of a chunk.

        Args:
            index: Where it is.
            counts: Its messages by channel.
        """
        start_ns, end_ns = index.message_start_time, index.message_end_time
        self.start_ns = min(self.start_ns, start_ns) if self.messages else start_ns
        self.end_ns = max(self.end_ns, end_ns)
        self.chunks.append(index)
        for channel, count in counts.items():
            self.counts[channel] = self.counts.get(channel, 0) + count

    def encode(self, offset: int) -> bytes:
        """Return the end of a file whose records so far end at `offset` [bytes]."""
        data_end = encode_records([DataEnd(data_section_crc=0)])
        start = offset + len(data_end)
        body, offsets = RecordBuilder(), []
        groups: list[tuple[Opcode, Sequence[McapRecord]]] = [
            (Opcode.SCHEMA, [*self.schemas.values()]),
            (Opcode.CHANNEL, [*self.channels.values()]),
            (Opcode.STATISTICS, [self._statistics()]),
            (Opcode.CHUNK_INDEX, self.chunks),
        ]
        for opcode, records in groups:
            begin = body.count
            for record in records:
                record.write(body)
            if body.count > begin:
                offsets.append(
                    SummaryOffset(
                        group_opcode=opcode,
                        group_start=start + begin,
                        group_length=body.count - begin,
                    )
                )
        offset_start = start + body.count
        summary = bytes(body.end()) + encode_records(offsets)  # type: ignore[no-untyped-call]
        head = struct.pack("<BQQQ", Opcode.FOOTER, 8 + 8 + 4, start, offset_start)
        footer = Footer(
            summary_start=start,
            summary_offset_start=offset_start,
            summary_crc=zlib.crc32(head, zlib.crc32(summary)),
        )
        return data_end + summary + encode_records([footer]) + MAGIC

    def _statistics(self) -> Statistics:
        return Statistics(
            attachment_count=0,
            channel_count=len(self.channels),
            channel_message_counts=dict(self.counts),
            chunk_count=len(self.chunks),
            message_count=self.messages,
            message_end_time=self.end_ns,
            message_start_time=self.start_ns,
            metadata_count=0,
            schema_count=len(self.schemas),
        )


def encode_records(records: Sequence[McapRecord]) -> bytes:
    """Return records as the bytes that they are in a file."""
    builder = RecordBuilder()
    for record in records:
        record.write(builder)
    return bytes(builder.end())  # type: ignore[no-untyped-call]
