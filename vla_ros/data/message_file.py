"""Writes and reads the messages of an episode as MCAP, the way `ros2 bag` does.

Messages stay the bytes that they came as; nothing is decoded here. https://mcap.dev/spec and its
profile `ros2`: schemas are `ros2msg` texts, messages are CDR.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from mcap.writer import CompressionType, Writer

#: A chunk is closed, and on its way to the disk, at this size [bytes].
CHUNK_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """A topic whose messages are written.

    Attributes:
        name: Of the topic.
        type: Of its messages, such as `sensor_msgs/msg/Image`.
        definition: Text of the type, with those of the types that it contains (`ros2msg`).
        qos: Profiles that it was offered with, as YAML; what `ros2 bag play` offers it with.
    """

    name: str
    type: str
    definition: str
    qos: str = ""


class MessageFile:
    """An MCAP file that messages are appended to; use it in a `with`."""

    def __init__(self, path: Path) -> None:
        """Begin a file.

        Raises:
            FileExistsError: if there is one already: it may hold messages.
        """
        self.path = path
        self._file: BinaryIO = path.open("xb")
        self._writer = Writer(self._file, chunk_size=CHUNK_BYTES, compression=CompressionType.ZSTD)
        self._writer.start(profile="ros2", library="vla_ros")
        self._channels: dict[str, int] = {}
        self._sequences: dict[str, int] = {}

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

    def add_topic(self, spec: TopicSpec) -> None:
        """Announce a topic; once, before its first message."""
        schema = self._writer.register_schema(spec.type, "ros2msg", spec.definition.encode())
        self._channels[spec.name] = self._writer.register_channel(
            spec.name, "cdr", schema, {"offered_qos_profiles": spec.qos}
        )
        self._sequences[spec.name] = 0

    def add(self, topic: str, data: bytes, log_ns: int, publish_ns: int) -> None:
        """Append a message.

        Args:
            topic: One that was added.
            data: The message as CDR.
            log_ns: When it came [ns], by the clock of the stamps.
            publish_ns: When it was published [ns].
        """
        self._sequences[topic] += 1
        self._writer.add_message(
            self._channels[topic], log_ns, data, publish_ns, self._sequences[topic]
        )

    def close(self) -> None:
        """Write the index, and close."""
        self._writer.finish()  # type: ignore[no-untyped-call]
        self._file.close()


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """A message as it was recorded.

    Attributes:
        topic: It came on.
        type: Of it.
        data: The message as CDR.
        log_ns: When it came [ns].
    """

    topic: str
    type: str
    data: bytes
    log_ns: int


def read_messages(path: Path) -> Iterator[RecordedMessage]:
    """Yield the messages of a file in the order they were written.

    A file that was cut off gives what is whole in it.
    """
    from mcap.exceptions import McapError
    from mcap.records import Channel, Message, Schema
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
                    yield RecordedMessage(channel.topic, name, record.data, record.log_time)
        except (EOFError, McapError):  # it ends here
            return
