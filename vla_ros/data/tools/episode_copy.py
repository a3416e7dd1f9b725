"""Copies an episode into a recording under a number, and changes it on the way."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from mcap.reader import make_reader
from mcap.records import Channel, Schema
from mcap.stream_reader import StreamReader

from vla_ros.contract import load_contract
from vla_ros.core.errors import UserError
from vla_ros.data.bag_metadata import write_bag_metadata
from vla_ros.data.episode import (
    CONTRACT,
    DESCRIPTION,
    METADATA,
    Episode,
    State,
    episode_folders,
    message_files,
    read_episode,
    write_episode,
)
from vla_ros.data.lerobot.layout import INFO
from vla_ros.data.message_file import TORN, MessageFile, RecordedMessage, TopicSpec, read_messages

#: Is given a message; returns what takes its place, or None for nothing.
ChangeMessage = Callable[[RecordedMessage], RecordedMessage | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is changed of an episode while it is copied.

    Attributes:
        description: Of what is known of it; its number is set already.
        message: Of each message; None if all stay, and files are linked rather than copied.
        contract: Of the contract's values, as YAML has them; None if it stays.
        damaged: Whether messages that cannot be read any more may be missing; else they are
            refused.
    """

    description: Callable[[Episode], Episode] = lambda episode: episode
    message: ChangeMessage | None = None
    contract: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    damaged: bool = False


NOTHING = Change()


def copy_episode(source: Path, recording: Path, number: int, change: Change = NOTHING) -> Path:
    """Copy an episode into a recording; return its folder there.

    Files whose content stays are hard links where the file system allows: nobody writes into a
    finished one.

    Args:
        source: Folder of the episode.
        recording: Folder that gets it; there must be no such number yet.
        number: That it gets.
        change: What is changed.

    Raises:
        UserError: if the source is no episode, or damaged, or its contract would not be one any
            more.
    """
    episode = change.description(replace(read_episode(source), number=number))
    folder = recording / episode.name
    folder.mkdir(parents=True)
    _copy_others(source, folder)
    if change.contract is not None:
        values = change.contract(yaml.safe_load((source / CONTRACT).read_text("utf-8")))
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode()
        (folder / CONTRACT).unlink(missing_ok=True)
        (folder / CONTRACT).write_bytes(text)
        load_contract(folder / CONTRACT)  # or it refuses
        episode = replace(episode, contract_sha256=hashlib.sha256(text).hexdigest())
    if change.message is None:
        for file, path in enumerate(message_files(source)):
            link_or_copy(path, folder / f"{episode.name}_{file}.mcap")
    else:
        counts = _rewrite(source, folder, episode.name, change.message, change.damaged)
        episode = replace(episode, topics=counts)
    write_episode(folder, episode)
    if (source / METADATA).exists() or change.message is not None:
        write_bag_metadata(folder)
    return folder


def recorded_episodes(recording: Path) -> list[Path]:
    """Return the folders of a recording's episodes.

    Raises:
        UserError: if there are none; of a LeRobotDataset it says what edits those.
    """
    if (recording / INFO).is_file():
        raise UserError(
            f"{recording}: is a LeRobotDataset, which LeRobot's own `lerobot-edit-dataset` merges,"
            " splits and deletes from. Or edit the recording, and convert it again"
        )
    return episode_folders(recording)


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` a hard link of `source`, or a copy on another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def topic_specs(path: Path) -> dict[str, TopicSpec]:
    """Return the topics of an MCAP file, also of one that was cut off."""
    schemas, channels = _announced(path)
    specs = {}
    for channel in channels.values():
        schema = schemas[channel.schema_id]
        specs[channel.topic] = TopicSpec(
            name=channel.topic,
            type=schema.name,
            definition=schema.data.decode(),
            qos=channel.metadata.get("offered_qos_profiles", ""),
            hash=channel.metadata.get("topic_type_hash", ""),
        )
    return specs


def _announced(path: Path) -> tuple[Mapping[int, Schema], Mapping[int, Channel]]:
    with path.open("rb") as file:
        try:
            summary = make_reader(file).get_summary()
        except TORN:
            summary = None
    if summary is not None and summary.channels:
        return summary.schemas, summary.channels
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    with path.open("rb") as file:
        try:
            for record in StreamReader(file).records:
                if isinstance(record, Schema):
                    schemas[record.id] = record
                elif isinstance(record, Channel):
                    channels[record.id] = record
        except TORN:
            pass  # it ends here
    return schemas, channels


def _rewrite(
    source: Path, folder: Path, name: str, change: ChangeMessage, damaged: bool
) -> dict[str, int]:
    """Write the messages of an episode anew; return their numbers by topic.

    Raises:
        UserError: if the episode is complete, and not all of its messages can be read any more.
    """
    counts: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for number, path in enumerate(message_files(source)):
        specs = topic_specs(path)
        with MessageFile(folder / f"{name}_{number}.mcap") as file:
            for message in read_messages(path):
                found[message.topic] += 1
                changed = change(message)
                if changed is None:
                    continue
                if changed.topic not in file:
                    file.add_topic(replace(specs[message.topic], name=changed.topic))
                file.add(
                    changed.topic,
                    changed.data,
                    changed.log_ns,
                    changed.publish_ns,
                    changed.sequence,
                )
                counts[changed.topic] += 1
    if not damaged:
        _require_all(source, found)
    return dict(counts)


def _require_all(source: Path, found: Counter[str]) -> None:
    episode = read_episode(source)
    for topic, count in episode.topics.items() if episode.state is State.COMPLETE else ():
        if found[topic] < count:
            raise UserError(
                f"{source}: {topic}: {count} messages were recorded, and {found[topic]} can be "
                "read: a file is damaged. Take it from a copy, or leave the episode out"
            )


def _copy_others(source: Path, folder: Path) -> None:
    """Link what is neither messages nor rewritten: the contract, and what others keep there."""
    for path in sorted(source.iterdir()):
        if path.name in (DESCRIPTION, METADATA) or path.suffix in (".mcap", ".partial"):
            continue
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            link_or_copy(path, folder / path.name)
