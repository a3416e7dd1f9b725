"""Writes and reads the messages of an episode as MCAP, the way `ros2 bag` does.

Messages stay the bytes that they came as; nothing is decoded here. https://mcap.dev/spec and its
profile `ros2`: schemas are `ros2msg` texts, messages are CDR.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import zstandard
from mcap.exceptions import McapError
from mcap.records import Channel, Header, Message, Schema

from vla_ros.data.direct_file import DirectFile
from vla_ros.data.message_chunk import Compression, OpenChunk
from vla_ros.data.message_summary import MAGIC, Summary, encode_records

#: A chunk is closed, and on its way to the disk, at this size [bytes].
CHUNK_BYTES = 4 * 2**20
#: Fast enough for cameras; level 3 takes clearly longer (bench/recorder.py).
LEVEL = 1
#: What reading a record that is torn, or was written over, may raise: lz4 raises RuntimeError, and
#: lengths that are none bring the last ones about.
TORN = (
    *(EOFError, McapError, struct.error, zstandard.ZstdError),
    *(RuntimeError, ValueError, OverflowError, MemoryError),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """A topic whose messages are written.

    Attributes:
        name: Of the topic.
        type: Of its messages, such as `sensor_msgs/msg/Image`.
        definition: Text of the type, with those of the types that it contains (`ros2msg`).
        qos: Profiles that it was offered with, as YAML; what `ros2 bag play` offers it with.
        hash: Of the type, as ROS 2 calculates it (REP 2016); "" if it is not known.
        latched: Whether who comes late is told the last message.
    """

    name: str
    type: str
    definition: str
    qos: str = ""
    hash: str = ""
    latched: bool = False


class MessageFile:
    """An MCAP file that messages are appended to; use it in a `with`.

    What has been written is always whole records: chunk and index go to the file together, topics
    are told outside of chunks, and what a full disk cuts off is taken away again. So a file that
    nobody closed only lacks its end (`recording/recovery.py`).
    """

    def __init__(
        self, path: Path, *, compression: Compression = Compression.ZSTD, level: int = LEVEL
    ) -> None:
        """Begin a file.

        Args:
            path: Of the file.
            compression: Of the chunks.
            level: How hard zstd tries: 1 to 22, or below 0 for less; lz4: 0, or 3 to 16.

        Raises:
            FileExistsError: if there is one already: it may hold messages.
            OSError: if it cannot be written.
        """
        self.path = path
        self._compression, self._level = compression, level
        self._file = DirectFile(path)
        self._summary, self._chunk = Summary(), OpenChunk()
        self._closed = False
        self._channels: dict[str, int] = {}
        self._sequences: dict[str, int] = {}
        self._file.append([MAGIC, encode_records([Header(profile="ros2", library="vla_ros")])])

    def __enter__(self) -> MessageFile:
        """Return this."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    @property
    def size(self) -> int:
        """What is in the file [bytes]."""
        return self._file.size

    @property
    def pending(self) -> int:
        """Messages that are in memory only."""
        return len(self._chunk)

    @property
    def summary(self) -> Summary:
        """What is in the file."""
        return self._summary

    def __contains__(self, topic: str) -> bool:
        """Return whether a topic was added."""
        return topic in self._channels

    def add_topic(self, spec: TopicSpec) -> None:
        """Announce a topic; once, before its first message.

        Raises:
            OSError: if it cannot be written.
        """
        self.flush()
        summary = self._summary
        schema = next((s for s in summary.schemas.values() if s.name == spec.type), None)
        records: list[Schema | Channel] = []
        if schema is None:
            data = spec.definition.encode()
            number = len(summary.schemas) + 1
            schema = Schema(id=number, name=spec.type, encoding="ros2msg", data=data)
            records.append(schema)
        channel = Channel(
            id=len(summary.channels) + 1,
            topic=spec.name,
            message_encoding="cdr",
            schema_id=schema.id,
            metadata={"offered_qos_profiles": spec.qos, "topic_type_hash": spec.hash},
        )
        self._file.append([encode_records([*records, channel])])
        summary.schemas[schema.id], summary.channels[channel.id] = schema, channel
        self._channels[spec.name], self._sequences[spec.name] = channel.id, 0

    def add(
        self, topic: str, data: bytes, log_ns: int, publish_ns: int, sequence: int | None = None
    ) -> None:
        """Append a message.

        Args:
            topic: One that was added.
            data: The message as CDR; is kept, so do not change it.
            log_ns: When it came [ns], by the clock of the stamps.
            publish_ns: When it was published [ns].
            sequence: Its publisher's number for it; counted here if None.

        Raises:
            OSError: if it cannot be written. Messages since the last `flush` are then lost.
        """
        self._sequences[topic] += 1
        number = self._sequences[topic] if sequence is None else sequence
        self._chunk.add(self._channels[topic], number, log_ns, publish_ns, data)
        if self._chunk.size >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand what is pending to the system: from then on it outlives this process.

        Raises:
            OSError: if it cannot be written. What was pending is then lost.
        """
        chunk, self._chunk = self._chunk, OpenChunk()
        if len(chunk):
            buffers, index = chunk.encode(self._compression, self._level, self.size)
            self._file.append(buffers)
            self._summary.add_chunk(index, chunk.counts)

    def sync(self) -> None:
        """Wait until the disk has what the system was handed: then it outlives a power cut."""
        self._file.sync()

    def close(self) -> None:
        """Write the index, wait for the disk, and close; harmless when it is closed.

        Raises:
            OSError: if something cannot be written; the file is closed nonetheless.
        """
        if self._closed:
            return
        self._closed = True
        try:
            try:
                self.flush()
            finally:
                self._file.append([self._summary.encode(self.size)])
        finally:
            self._file.close()


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """A message as it was recorded.

    Attributes:
        topic: It came on.
        type: Of it.
        data: The message as CDR.
        log_ns: When it came [ns].
        publish_ns: When it was published [ns].
        sequence: Its publisher's number for it.
    """

    topic: str
    type: str
    data: bytes
    log_ns: int
    publish_ns: int
    sequence: int


def read_messages(path: Path) -> Iterator[RecordedMessage]:
    """Yield the messages of a file in the order they were written.

    A file that was cut off gives what is whole in it.
    """
    from mcap.stream_reader import StreamReader

    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    with path.open("rb") as file:
        try:
            for record in StreamReader(file).records:
                if isinstance(record, Schema):
                    schemas[record.id] = record
                elif isinstance(record, Channel):
                    channels[record.id] = record
                elif isinstance(record, Message):
                    channel = channels[record.channel_id]
                    name = schemas[channel.schema_id].name
                    yield RecordedMessage(
                        channel.topic,
                        name,
                        record.data,
                        record.log_time,
                        record.publish_time,
                        record.sequence,
                    )
        except TORN:  # it ends here
            return
