"""What is known of a recorded episode beside its messages: `episode.json` in its folder.

A recording is a folder with one folder per episode, each a bag that `ros2 bag` opens:

    recordings/
      episode_000000/
        metadata.yaml              rosbag2's own; written when the episode ends
        episode_000000_0.mcap      the messages as they came; _1, _2 ... when files are rotated
        episode.json               this
        contract.yaml              the robot contract that it was recorded with
      discarded/episode_000001/    what was discarded, until it is undone or removed
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from vla_ros.core.errors import UserError

VERSION = 1
DESCRIPTION, CONTRACT, METADATA = "episode.json", "contract.yaml", "metadata.yaml"
DISCARDED = "discarded"


class State(StrEnum):
    """How far an episode got."""

    RECORDING = "recording"
    COMPLETE = "complete"
    CUT = "cut"


class Outcome(StrEnum):
    """What an operator, or a judge, says of an episode."""

    UNKNOWN = ""
    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """What is known of an episode beside its messages.

    Attributes:
        number: Counts the episodes of a recording, from 0.
        state: Whether it is being recorded, complete, or was cut off by a crash.
        instruction: What the robot was told to do.
        outcome: Whether it did.
        label: Anything else that was said of it.
        operator: Who recorded it.
        contract: Name of the robot contract.
        contract_sha256: Of the file `contract.yaml` beside this.
        bundle: SHA-256 of the policy bundle that acted; "" for none.
        software: Version of vla_ros.
        start_ns: Time of the first message's reception [ns], by the clock of the stamps.
        end_ns: Of the last one's.
        cut: Why it ended early, in words; "" if it did not.
        warnings: What was amiss while it was recorded.
        topics: Messages by topic.
        extra: What others want to keep here.
    """

    number: int
    state: State = State.RECORDING
    instruction: str = ""
    outcome: Outcome = Outcome.UNKNOWN
    label: str = ""
    operator: str = ""
    contract: str = ""
    contract_sha256: str = ""
    bundle: str = ""
    software: str = ""
    start_ns: int = 0
    end_ns: int = 0
    cut: str = ""
    warnings: tuple[str, ...] = ()
    topics: Mapping[str, int] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"episode_{self.number:06d}"

    @property
    def duration_s(self) -> float:
        """How long it is in [s]."""
        return 1e-9 * (self.end_ns - self.start_ns)


def write_episode(folder: Path, episode: Episode) -> None:
    """Write `episode.json` into an episode's folder, atomically and to the disk."""
    values = asdict(episode) | {"version": VERSION}
    partial = folder / f"{DESCRIPTION}.partial"
    with partial.open("w", encoding="utf-8") as file:
        json.dump(values, file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / DESCRIPTION)


def read_episode(folder: Path) -> Episode:
    """Read what `write_episode` wrote.

    Raises:
        UserError: if the folder is no episode, or of a version that is not known; names it.
    """
    path = folder / DESCRIPTION
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{folder}: is no episode of a recording (it has no {DESCRIPTION})"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: is no JSON: {error}") from error
    if not isinstance(values, dict) or values.pop("version", None) != VERSION:
        raise UserError(f"{path}: is of another version; this vla_ros reads version {VERSION}")
    known = {item.name for item in fields(Episode)}
    unknown = sorted(set(values) - known)
    if unknown or "number" not in values:
        raise UserError(f"{path}: expected {', '.join(sorted(known))}; unknown: {unknown}")
    try:
        return Episode(
            **{
                **values,
                "state": State(values["state"]),
                "outcome": Outcome(values["outcome"]),
                "warnings": tuple(values["warnings"]),
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: {error}") from error


def episode_folders(recording: Path) -> list[Path]:
    """Return the folders of a recording's episodes in the order of their numbers.

    A folder of one episode is a recording of one.

    Raises:
        UserError: if there is none; says what was expected.
    """
    if (recording / DESCRIPTION).is_file():
        return [recording]
    folders = sorted(path.parent for path in recording.glob(f"episode_*/{DESCRIPTION}"))
    if not folders:
        raise UserError(
            f"{recording}: holds no episodes; expected folders episode_000000, episode_000001, … "
            "as `vla_ros collect` and the node `recorder` write them"
        )
    return folders


def message_files(folder: Path) -> list[Path]:
    """Return an episode's MCAP files in the order of time."""
    return sorted(folder.glob("*.mcap"), key=lambda path: int(path.stem.rpartition("_")[2]))
