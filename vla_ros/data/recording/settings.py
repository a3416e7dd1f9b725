"""What a recorder is told: where, what for, and its bounds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vla_ros.contract import RobotContract
from vla_ros.data.message_chunk import Compression
from vla_ros.data.message_file import LEVEL

STATIC_TRANSFORMS = "/tf_static"


class Arrival(NamedTuple):
    """A message as it came.

    Attributes:
        topic: It came on.
        data: CDR.
        log_ns: When it came [ns], by the clock of the stamps.
        publish_ns: When it was published [ns].
        sequence: Its publisher's number for it.
    """

    topic: str
    data: bytes
    log_ns: int
    publish_ns: int
    sequence: int


def latched_key(arrival: Arrival) -> tuple[str, bytes]:
    """Return what a latched message replaces: those of its topic.

    Static transforms come from several publishers, and add up.
    """
    return arrival.topic, arrival.data if arrival.topic == STATIC_TRANSFORMS else b""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderSettings:
    """What a recorder is told.

    A message is handed to the system `flush_s` after it came at the latest: so much is lost when
    the process is killed. Every `sync_s` the disk is waited for, in a thread of its own: so much
    more is lost when the power fails.

    Attributes:
        folder: Of the recording.
        contract: Of the robot.
        contract_text: The contract's file, as episodes keep it.
        operator: Who records, until somebody says otherwise.
        compression: Of the files.
        level: How hard; see `MessageFile`.
        file_bytes: A file that is larger is followed by another.
        file_s: So is one that is longer [s]; 0 for no bound.
        queue_bytes: What may wait for the disk [bytes].
        recent_s: What is kept in memory for `save_recent` [s]; 0 for nothing.
        recent_bytes: Bound of that memory [bytes].
        continuous: Whether episodes begin and end by themselves.
        idle_s: An episode that began by itself ends when the robot has rested so long [s].
        longest_s: It ends after this time in any case, and the next begins [s].
        lead_s: What came before it began that belongs to it [s].
        low_disk_bytes: Less free space than this is warned of.
        flush_s: See above [s].
        sync_s: See above [s].
    """

    folder: Path
    contract: RobotContract
    contract_text: bytes
    operator: str = ""
    compression: Compression = Compression.ZSTD
    level: int = LEVEL
    file_bytes: int = 2 * 10**9
    file_s: float = 600.0
    queue_bytes: int = 256 * 10**6
    recent_s: float = 0.0
    recent_bytes: int = 512 * 10**6
    continuous: bool = False
    idle_s: float = 2.0
    longest_s: float = 120.0
    lead_s: float = 1.0
    low_disk_bytes: int = 5 * 10**9
    flush_s: float = 0.4
    sync_s: float = 1.0

    def __post_init__(self) -> None:
        """Refuse bounds that leave no room."""
        above = ("file_bytes", "queue_bytes", "recent_bytes", "idle_s", "longest_s", "flush_s",
                 "sync_s")  # fmt: skip
        for name in above:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")
        for name in ("file_s", "recent_s", "lead_s", "low_disk_bytes"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")

    @property
    def contract_sha256(self) -> str:
        """Of the contract's file."""
        return hashlib.sha256(self.contract_text).hexdigest()

    @property
    def kept_s(self) -> float:
        """What has to be in memory while nothing is recorded [s]."""
        return max(self.recent_s, self.lead_s if self.continuous else 0.0)
