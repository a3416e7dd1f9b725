"""Mends what a recorder left behind that was killed, or whose machine lost power."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from vla_ros.core.errors import UserError
from vla_ros.data.bag_metadata import write_bag_metadata
from vla_ros.data.episode import (
    DESCRIPTION,
    Episode,
    State,
    message_files,
    read_episode,
    write_episode,
)
from vla_ros.data.recording.completion import Completion, complete_file
from vla_ros.data.recording.recording_folder import RecordingFolder

REASON = "the recorder ended without closing it, as when it is killed or the power fails"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """An episode that was mended.

    Attributes:
        folder: Of it.
        episode: What is known of it now.
        removed: Torn bytes at the ends of its files.
    """

    folder: Path
    episode: Episode
    removed: int


def recover_recording(path: Path) -> list[Recovered]:
    """Mend every episode of a recording that nobody closed; touch no other.

    Raises:
        UserError: if somebody records there at the moment, or it is no recording.
    """
    if not path.is_dir():
        raise UserError(f"{path}: is no folder of a recording")
    if (path / DESCRIPTION).is_file():
        raise UserError(f"{path}: is an episode; name the recording that it is in: {path.parent}")
    place = RecordingFolder(path)
    try:
        return recover_episodes(place)
    finally:
        place.close()


def recover_episodes(place: RecordingFolder) -> list[Recovered]:
    """Mend the episodes of a folder that this process has locked.

    Raises:
        UserError: if the disk does not take what it needs.
    """
    place.release()
    found = []
    for description in sorted(place.path.glob(f"episode_*/{DESCRIPTION}")):
        folder = description.parent
        episode = read_episode(folder)
        if episode.state is State.RECORDING:
            try:
                found.append(_recover(folder, episode))
            except OSError as error:
                raise UserError(f"{folder}: cannot be mended: {error}; make room first") from error
    return found


def _recover(folder: Path, episode: Episode) -> Recovered:
    done: list[Completion] = [complete_file(path) for path in message_files(folder)]
    write_bag_metadata(folder)
    topics: dict[str, int] = {}
    for item in done:
        for topic, count in item.summary.counts_by_topic().items():
            topics[topic] = topics.get(topic, 0) + count
    filled = [item.summary for item in done if item.summary.messages]
    mended = replace(
        episode,
        state=State.CUT,
        cut=REASON,
        start_ns=min((item.start_ns for item in filled), default=episode.start_ns),
        end_ns=max((item.end_ns for item in filled), default=episode.start_ns),
        topics=topics,
    )
    write_episode(folder, mended)
    return Recovered(folder=folder, episode=mended, removed=sum(item.removed for item in done))
