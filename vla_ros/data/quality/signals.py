"""An episode as the checks see it: times and values per topic, pictures as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros.contract import STATE, RobotContract
from vla_ros.core.types import FloatArray
from vla_ros.data.episode import Episode

IntArray = NDArray[np.int64]
#: Side of the small grey picture that a camera's frames are compared by [px].
SMALL = 24


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stream:
    """The messages of one topic.

    Attributes:
        topic: They came on.
        type: Of them.
        log_ns: When each came [ns], shape (N,).
        stamp_ns: What each says it is from [ns], shape (N,); None without a header.
        values: What each holds, shape (N, width): joints [rad], commands [rad], gyro [rad/s] and
            acceleration [m/s^2]; None for pictures and others.
    """

    topic: str
    type: str
    log_ns: IntArray
    stamp_ns: IntArray | None = None
    values: FloatArray | None = None

    @property
    def times_ns(self) -> IntArray:
        """What each is from [ns]: its stamp, or when it came if it has none."""
        return self.log_ns if self.stamp_ns is None else self.stamp_ns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PictureStream:
    """The pictures of one camera as numbers; those of colour and of depth alike.

    Attributes:
        stream: Their times.
        digests: Of the pixels, shape (N,): equal pictures have equal ones.
        dark: Part of the pixels that are black, shape (N,); of depth, that are holes.
        bright: Part of the pixels that are burnt out, shape (N,); 0 for depth.
        contrast: Standard deviation of the grey levels, shape (N,); of depth, in [m].
        level: Mean grey level of 255, shape (N,); of depth, in [m].
        motion: Mean change of the small grey picture since the one before, shape (N,).
        first: Small grey picture of the first, shape (SMALL, SMALL).
        thumbnails: Time [ns] and JPEG of a few pictures.
    """

    stream: Stream
    digests: NDArray[np.uint32]
    dark: FloatArray
    bright: FloatArray
    contrast: FloatArray
    level: FloatArray
    motion: FloatArray
    first: FloatArray
    thumbnails: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BadMessage:
    """Messages that could not be read, for one reason.

    Attributes:
        topic: They came on.
        log_ns: When the first came [ns].
        count: How many there are.
        reason: What was expected and what came.
    """

    topic: str
    log_ns: int
    count: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Signals:
    """An episode as the checks see it.

    Attributes:
        folder: Of the episode.
        episode: What is known of it.
        contract: It was recorded with; its topics are called as in the recording.
        start_ns: When its first message came [ns].
        end_ns: When its last came [ns].
        streams: By topic: all topics.
        pictures: By topic: those of cameras.
        instructions: When each came [ns], and its text.
        bad: Messages that could not be read.
        torn: Files that end within a message.
        broken: Files that could not be read to their end, and why.
        received: Messages by topic, those that could not be read among them.
    """

    folder: Path
    episode: Episode
    contract: RobotContract
    start_ns: int
    end_ns: int
    streams: Mapping[str, Stream]
    pictures: Mapping[str, PictureStream] = field(default_factory=dict)
    instructions: tuple[tuple[int, str], ...] = ()
    bad: tuple[BadMessage, ...] = ()
    torn: tuple[str, ...] = ()
    broken: Mapping[str, str] = field(default_factory=dict)
    received: Mapping[str, int] = field(default_factory=dict)

    @property
    def duration_s(self) -> float:
        """How long it is in [s]."""
        return 1e-9 * (self.end_ns - self.start_ns)

    @property
    def state(self) -> Stream | None:
        """The measured joints; None if there are none."""
        return self._valued(
            next(item.topic for item in self.contract.observations if item.feature == STATE)
        )

    @property
    def commands(self) -> Stream | None:
        """What the joints were told; None if they were not."""
        return self._valued(self.contract.action.command.topic)

    def seconds(self, time_ns: Any) -> Any:
        """Return times [ns] from the start of the episode in [s]."""
        return 1e-9 * (time_ns - self.start_ns)

    def _valued(self, topic: str) -> Stream | None:
        stream = self.streams.get(topic)
        return stream if stream is not None and stream.values is not None else None
