"""What one pass over an episode's messages tells: when each came, and the small ones' content."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros.contract import RobotContract
from vla_ros.core.conventions import NAMESPACE
from vla_ros.core.errors import ObservationError, UserError
from vla_ros.core.stamps import NANOSECONDS, to_ns
from vla_ros.core.types import FloatArray
from vla_ros.data.message_definitions import typestore
from vla_ros.data.message_file import RecordedMessage
from vla_ros.observation.command_history import in_force_since
from vla_ros.observation.joint_messages import CommandReader

INSTRUCTION, ACTING = f"{NAMESPACE}/instruction", f"{NAMESPACE}/gate/acting"
HEADER = "std_msgs/msg/Header"

Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Commands:
    """The commands of an episode.

    Attributes:
        since_ns: From when each is in force [ns], ascending, shape (N,).
        targets: Joint targets in [rad], shape (N, n_joints), in the contract's order.
        refused: Messages that were no command, with the time [ns] and why.
    """

    since_ns: Times
    targets: FloatArray
    refused: tuple[tuple[int, str], ...] = ()

    def at(self, times_ns: Times) -> FloatArray:
        """Return the targets in force at times [ns], shape (len(times_ns), n_joints).

        What was commanded last stays in force; before the first command, that one counts.

        Raises:
            UserError: if there is no command at all.
        """
        if not len(self.since_ns):
            raise UserError("there is no command in the episode")
        found = np.searchsorted(self.since_ns, times_ns, side="right") - 1
        return self.targets[np.maximum(found, 0)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EpisodeIndex:
    """What is known of an episode's messages after one pass.

    Attributes:
        types: Message type by topic.
        times: Times of reception by topic [ns], in the order of the file.
        stamps: Stamps by topic [ns]; absent for types without a header.
        commands: What the robot was commanded.
        instructions: Time [ns] and text of each instruction.
        actors: Time [ns] and name of who moved the robot from then on.
    """

    types: dict[str, str]
    times: dict[str, Times]
    stamps: dict[str, Times]
    commands: Commands
    instructions: tuple[tuple[int, str], ...]
    actors: tuple[tuple[int, str], ...]


def index_messages(messages: Iterable[RecordedMessage], contract: RobotContract) -> EpisodeIndex:
    """Go once over an episode's messages.

    Args:
        messages: All of them, in the order that they came in.
        contract: Says which topic the commands are on.
    """
    pass_ = _Pass(contract)
    for message in messages:
        pass_.take(message)
    return pass_.result()


@dataclass(slots=True)
class _Pass:
    contract: RobotContract
    types: dict[str, str] = field(default_factory=dict)
    times: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    stamps: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    commands: list[tuple[int, FloatArray]] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    instructions: list[tuple[int, str]] = field(default_factory=list)
    actors: list[tuple[int, str]] = field(default_factory=list)
    reader: CommandReader = field(init=False)
    command_topic: str = field(init=False)

    def __post_init__(self) -> None:
        self.reader = CommandReader(self.contract.action.joints)
        self.command_topic = full_name(self.contract.action.command.topic)

    def take(self, message: RecordedMessage) -> None:
        topic = message.topic
        self.types[topic] = message.type
        self.times[topic].append(message.log_ns)
        if has_header(message.type) and len(message.data) >= 12:
            self.stamps[topic].append(stamp_of(message.data))
        if topic in (self.command_topic, INSTRUCTION, ACTING):
            try:
                self._read(topic, message)
            except ObservationError as error:
                self.refused.append((message.log_ns, error.reason))

    def _read(self, topic: str, message: RecordedMessage) -> None:
        value = decode(message)
        if topic == self.command_topic:
            targets = self.reader.read(value)
            self.commands.append((in_force_since(value, message.log_ns), targets))
        elif topic == INSTRUCTION:
            self.instructions.append((message.log_ns, str(value.data)))
        else:
            self.actors.append((to_ns(value.header.stamp) or message.log_ns, str(value.actor)))

    def result(self) -> EpisodeIndex:
        commands = sorted(self.commands, key=lambda each: each[0])
        n = len(self.contract.action.joints)
        return EpisodeIndex(
            types=self.types,
            times={topic: np.array(each, np.int64) for topic, each in self.times.items()},
            stamps={topic: np.array(each, np.int64) for topic, each in self.stamps.items()},
            commands=Commands(
                since_ns=np.array([since for since, _ in commands], np.int64),
                targets=np.array([row for _, row in commands], np.float64).reshape(-1, n),
                refused=tuple(self.refused),
            ),
            instructions=tuple(self.instructions),
            actors=tuple(sorted(self.actors, key=lambda each: each[0])),
        )


def decode(message: RecordedMessage) -> Any:
    """Return the message of its bytes, with the attributes that `rclpy`'s has.

    Raises:
        ObservationError: if its type is not known, or its bytes are not of that type.
    """
    try:
        return typestore().deserialize_cdr(message.data, message.type)
    except KeyError:
        reason = f"type {message.type} is not known"
    except Exception as error:  # noqa: BLE001 rosbags raises whatever unpacking raises
        reason = f"{len(message.data)} bytes are no {message.type}: {error!r}"
    raise ObservationError(message.topic, reason)


@cache
def has_header(type_name: str) -> bool:
    """Whether messages of a type begin with a header."""
    definition = typestore().fielddefs.get(type_name)
    return bool(definition and definition[1] and definition[1][0][1][1] == HEADER)


def stamp_of(data: bytes) -> int:
    """Return the stamp [ns] of a message that begins with a header, without decoding it.

    CDR: four bytes that say the order of bytes, then `int32 sec`, `uint32 nanosec`.
    """
    order = "<" if data[1] & 1 else ">"
    sec, nanosec = struct.unpack_from(f"{order}iI", data, 4)
    return int(sec) * NANOSECONDS + int(nanosec)


def full_name(topic: str) -> str:
    """Return a contract's topic as it is called in a recording."""
    return topic if topic.startswith("/") else f"{NAMESPACE}/{topic}"
