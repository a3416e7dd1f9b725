"""`metadata.yaml` of an episode's folder: by it `ros2 bag info` and `ros2 bag play` know it.

Version 9, as ROS 2 Jazzy writes it
(https://github.com/ros2/rosbag2/blob/jazzy/rosbag2_storage/include/rosbag2_storage/yaml.hpp).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from vla_ros.data.episode import METADATA, message_files
from vla_ros.data.message_summary import Summary

VERSION, DISTRIBUTION = 9, "jazzy"


def write_bag_metadata(folder: Path) -> None:
    """Write `metadata.yaml` from the index of every MCAP file of an episode, to the disk.

    Raises:
        UserError: if a file has no index, as one that was cut off.
    """
    files = [(path.name, read_summary(path)) for path in message_files(folder)]
    partial = folder / f"{METADATA}.partial"
    with partial.open("w", encoding="utf-8") as file:
        yaml.safe_dump(_metadata(files), file, sort_keys=False, allow_unicode=True)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / METADATA)


def read_summary(path: Path) -> Summary:
    """Return the index of an MCAP file.

    Raises:
        UserError: if it has none, as one that was cut off; says how to mend it.
    """
    from mcap.exceptions import McapError
    from mcap.reader import make_reader

    from vla_ros.core.errors import UserError

    cause: Exception | str = "it holds none"
    try:
        with path.open("rb") as file:
            found = make_reader(file).get_summary()
    except (McapError, EOFError, ValueError) as error:
        found, cause = None, error
    if found is None or found.statistics is None:
        raise UserError(
            f"{path}: has no index ({cause}); it was cut off: run `vla_ros data recover` on its "
            "recording"
        )
    return Summary(
        schemas=dict(found.schemas),
        channels=dict(found.channels),
        chunks=list(found.chunk_indexes),
        counts=dict(found.statistics.channel_message_counts),
        start_ns=found.statistics.message_start_time,
        end_ns=found.statistics.message_end_time,
    )


def _metadata(files: list[tuple[str, Summary]]) -> dict[str, Any]:
    filled = [summary for _, summary in files if summary.messages]
    start_ns = min((item.start_ns for item in filled), default=0)
    end_ns = max((item.end_ns for item in filled), default=0)
    topics: dict[str, dict[str, Any]] = {}
    for _, summary in files:
        counts = summary.counts_by_topic()
        for channel in summary.channels.values():
            kind = summary.schemas[channel.schema_id].name
            entry = topics.setdefault(channel.topic, _topic(channel, kind))
            entry["message_count"] += counts[channel.topic]
    return {
        "rosbag2_bagfile_information": {
            "version": VERSION,
            "storage_identifier": "mcap",
            "duration": {"nanoseconds": end_ns - start_ns},
            "starting_time": {"nanoseconds_since_epoch": start_ns},
            "message_count": sum(summary.messages for _, summary in files),
            "topics_with_message_count": list(topics.values()),
            "compression_format": "",  # MCAP compresses its chunks itself
            "compression_mode": "",
            "relative_file_paths": [name for name, _ in files],
            "files": [_file(name, summary) for name, summary in files],
            "custom_data": None,
            "ros_distro": DISTRIBUTION,
        }
    }


def _topic(channel: Any, kind: str) -> dict[str, Any]:
    qos = channel.metadata.get("offered_qos_profiles", "")
    return {
        "topic_metadata": {
            "name": channel.topic,
            "type": kind,
            "serialization_format": channel.message_encoding,
            "offered_qos_profiles": yaml.safe_load(qos) if qos else [],
            "type_description_hash": channel.metadata.get("topic_type_hash", ""),
        },
        "message_count": 0,
    }


def _file(name: str, summary: Summary) -> dict[str, Any]:
    return {
        "path": name,
        "starting_time": {"nanoseconds_since_epoch": summary.start_ns},
        "duration": {"nanoseconds": summary.end_ns - summary.start_ns},
        "message_count": summary.messages,
    }
