"""Reads an episode once, message by message, into what the checks look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mcap.records import Chunk
from mcap.stream_reader import StreamReader, breakup_chunk

from vla_ros.contract import FeatureKind, RobotContract, load_contract
from vla_ros.core.errors import ObservationError, UserError
from vla_ros.core.types import FloatArray
from vla_ros.data.episode import CONTRACT, Episode, message_files, read_episode
from vla_ros.data.episode_index import INSTRUCTION, decode, full_name, has_header, stamp_of
from vla_ros.data.message_file import RecordedMessage, read_messages
from vla_ros.data.quality.pictures import PictureMeter
from vla_ros.data.quality.signals import BadMessage, Signals, Stream
from vla_ros.data.quality.thresholds import Thresholds
from vla_ros.observation.joint_messages import (
    CommandReader,
    JointStateReader,
    OtherJoints,
    read_imu,
)

#: What every whole MCAP file ends with. https://mcap.dev/spec#magic
MAGIC = b"\x89MCAP0\r\n"

#: Returns the numbers of a message; raises ObservationError.
ReadValues = Callable[[Any], FloatArray]


def read_signals(folder: Path, thresholds: Thresholds) -> Signals:
    """Read an episode.

    Raises:
        UserError: if it is no episode, its contract cannot be read, or it holds no message.
    """
    episode = read_episode(folder)
    path = folder / CONTRACT
    if not path.is_file():
        raise UserError(
            f"{path}: missing; without the robot contract that it was recorded with, nothing says"
            " what its topics are. Put that file there."
        )
    files = message_files(folder)
    contract = _with_full_names(load_contract(path))
    reader = _Reader(contract, thresholds, episode.end_ns - episode.start_ns)
    broken = {}
    for file in files:
        try:
            for message in read_messages(file):
                reader.add(message)
        except Exception as error:  # noqa: BLE001 - whatever damaged bytes bring about
            broken[file.name] = repr(error)
    if not reader.received:
        names = ", ".join(file.name for file in files) or "no .mcap file"
        raise UserError(f"{folder}: expected messages, got none from {names}")
    torn = _torn(files)
    for file in files:
        if file.name not in torn and (why := _find_damage(file)):
            broken.setdefault(file.name, why)
    return reader.finish(folder, episode, tuple(torn), broken)


def _with_full_names(contract: RobotContract) -> RobotContract:
    """Return the contract with its topics called as in a recording."""
    action = contract.action
    command = replace(action.command, topic=full_name(action.command.topic))
    sensors = (replace(item, topic=full_name(item.topic)) for item in contract.observations)
    return replace(contract, observations=tuple(sensors), action=replace(action, command=command))


def _torn(files: Sequence[Path]) -> list[str]:
    torn = []
    for file in files:
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - len(MAGIC)))
            if opened.read() != MAGIC:
                torn.append(file.name)
    return torn


def _find_damage(path: Path) -> str:
    """Return what is wrong with a file by its checksums: zstd notices not every wrong byte."""
    try:
        with path.open("rb") as file:
            for record in StreamReader(file, emit_chunks=True).records:
                if isinstance(record, Chunk):
                    breakup_chunk(record, validate_crc=True)
    except Exception as error:  # noqa: BLE001 - whatever damaged bytes bring about
        return f"{type(error).__name__}: {error}"
    return ""


class _Reader:
    """Collects the messages of an episode by topic."""

    def __init__(self, contract: RobotContract, thresholds: Thresholds, span_ns: int) -> None:
        self._contract, joints = contract, contract.action.joints
        self._values: dict[str, ReadValues] = {}
        self._meters: dict[str, PictureMeter] = {}
        command = contract.action.command
        self._values[full_name(command.topic)] = CommandReader(joints).read
        self._types = {full_name(command.topic): command.type}
        for spec in contract.observations:
            topic = full_name(spec.topic)
            self._types[topic] = spec.type
            if spec.camera:
                self._meters[topic] = PictureMeter(spec, thresholds, span_ns)
            elif spec.kind is FeatureKind.IMU:
                self._values[topic] = partial(read_imu, topic=topic)
            else:
                self._values[topic] = JointStateReader(topic, joints).read
        self._kinds: dict[str, str] = {}
        self.received: Counter[str] = Counter()
        self._times: dict[str, list[int]] = {}
        self._stamps: dict[str, list[int]] = {}
        self._rows: dict[str, list[FloatArray]] = {}
        self._bad: dict[tuple[str, str], BadMessage] = {}
        self._instructions: list[tuple[int, str]] = []
        self._spans: dict[str, list[int]] = {}

    def add(self, recorded: RecordedMessage) -> None:
        topic, log_ns = recorded.topic, recorded.log_ns
        self.received[topic] += 1
        self._spans.setdefault(topic, [log_ns, log_ns])
        first_ns, last_ns = self._spans[topic]
        self._spans[topic] = [min(first_ns, log_ns), max(last_ns, log_ns)]
        self._kinds.setdefault(topic, recorded.type)
        if topic not in self._types and topic != INSTRUCTION:
            self._times.setdefault(topic, []).append(log_ns)
            return
        wanted = self._types.get(topic, recorded.type)
        if recorded.type != wanted:
            self._complain(topic, log_ns, f"expected type {wanted}, got {recorded.type}")
            return
        try:
            self._take(topic, decode(recorded), log_ns)
        except OtherJoints:
            return  # of another device on the same topic; the policy ignores it as well
        except ObservationError as error:
            self._complain(topic, log_ns, error.reason)
            return
        self._times.setdefault(topic, []).append(log_ns)
        if has_header(recorded.type):
            self._stamps.setdefault(topic, []).append(stamp_of(recorded.data))

    def _take(self, topic: str, message: Any, log_ns: int) -> None:
        if topic == INSTRUCTION:
            self._instructions.append((log_ns, str(message.data)))
        elif topic in self._meters:
            complaint = self._meters[topic].add(message, log_ns)
            if complaint:
                self._complain(topic, log_ns, complaint)
        else:
            self._rows.setdefault(topic, []).append(self._values[topic](message))

    def finish(
        self, folder: Path, episode: Episode, torn: tuple[str, ...], broken: Mapping[str, str]
    ) -> Signals:
        streams = {topic: self._stream(topic) for topic in self._times}
        pictures = {}
        # of the robot's own topics: a lone message from another clock would stretch the episode
        spans = [span for topic, span in self._spans.items() if topic in self._types]
        spans = spans or list(self._spans.values())
        for topic, meter in self._meters.items():
            stream = streams.get(topic)
            measured = meter.finish(stream) if stream is not None else None
            if measured is not None:
                pictures[topic] = measured
        return Signals(
            folder=folder,
            episode=episode,
            contract=self._contract,
            start_ns=min(first_ns for first_ns, _ in spans),
            end_ns=max(last_ns for _, last_ns in spans),
            streams=streams,
            pictures=pictures,
            instructions=tuple(self._instructions),
            bad=tuple(self._bad.values()),
            torn=torn,
            broken=broken,
            received=dict(self.received),
        )

    def _stream(self, topic: str) -> Stream:
        log_ns, stamps = self._times[topic], self._stamps.get(topic)
        rows = self._rows.get(topic)
        return Stream(
            topic=topic,
            type=self._kinds[topic],
            log_ns=np.array(log_ns, np.int64),
            stamp_ns=np.array(stamps, np.int64) if stamps and any(stamps) else None,
            values=np.array(rows, np.float64) if rows else None,
        )

    def _complain(self, topic: str, log_ns: int, reason: str) -> None:
        known = self._bad.get((topic, reason))
        first = log_ns if known is None else known.log_ns
        count = 1 if known is None else known.count + 1
        self._bad[topic, reason] = BadMessage(
            topic=topic, log_ns=first, count=count, reason=reason
        )
