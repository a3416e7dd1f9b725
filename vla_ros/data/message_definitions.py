"""Texts of message types, as MCAP files carry them: who reads one needs no ROS 2 to decode it."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path
from vla_ros.data.message_file import TopicSpec

#: Packages of messages that are not in rosbags' store: ours.
OURS = "vla_ros_interfaces"


@cache
def typestore() -> Typestore:
    """Return the types of ROS 2 Jazzy, and ours."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, object] = {}
    for path in sorted(_interfaces().glob("*.msg")):
        types |= get_types_from_msg(path.read_text("utf-8"), f"{OURS}/msg/{path.stem}")
    store.register(types)  # type: ignore[arg-type]
    return store


@cache
def message_definition(name: str) -> str:
    """Return the text of a type, with those of the types that it contains.

    Args:
        name: Such as `sensor_msgs/msg/Image`.

    Raises:
        UserError: if the type is not known.
    """
    text, _ = _known(name).generate_msgdef(name, ros_version=2)
    return text


def make_topic_spec(
    topic: str, type_name: str, *, qos: str = "", latched: bool = False
) -> TopicSpec:
    """Return what has to be known to record a topic.

    Args:
        topic: Its name.
        type_name: Of its messages, such as `sensor_msgs/msg/Image`.
        qos: Profiles that it is offered with, as YAML.
        latched: Whether who comes late is told the last message.

    Raises:
        UserError: if the type is not known.
    """
    return TopicSpec(
        name=topic,
        type=type_name,
        definition=message_definition(type_name),
        qos=qos,
        hash=_known(type_name).hash_rihs01(type_name),
        latched=latched,
    )


def read_message(type_name: str, data: bytes) -> Any:
    """Return a message from its CDR bytes; its attributes are those that rclpy's has.

    Raises:
        UserError: if the type is not known.
    """
    return _known(type_name).deserialize_cdr(data, type_name)


def _known(name: str) -> Typestore:
    """Return the types once they hold `name`: those of installed packages are read when asked.

    Raises:
        UserError: if no installed package has the type.
    """
    store = typestore()
    if name in store.fielddefs:
        return store
    types: dict[str, object] = {}
    wanted = [name]
    while wanted:
        current = wanted.pop()
        if current in store.fielddefs or current in types:
            continue
        found = get_types_from_msg(_find(current, name).read_text("utf-8"), current)
        types |= found
        wanted += [item for kind in found.values() for item in _contained(kind)]
    store.register(types)  # type: ignore[arg-type]
    return store


def _contained(kind: Any) -> list[str]:
    """Return the names of the types of messages among a type's fields."""
    names = []
    for _, (node, detail) in kind[1]:
        while node in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            node, detail = detail[0]  # of the elements
        if node == Nodetype.NAME:
            names.append(detail)
    return names


def _find(name: str, asked: str) -> Path:
    """Return the `.msg` file of a type, wherever ROS 2 has its package installed."""
    package, _, kind = name.partition("/msg/")
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    for prefix in filter(None, prefixes):
        path = Path(prefix) / "share" / package / "msg" / f"{kind}.msg"
        if path.is_file():
            return path
    raise UserError(
        f"{asked}: the text of the message type {name} is not found; expected "
        f"share/{package}/msg/{kind}.msg under a folder of AMENT_PREFIX_PATH: source the "
        "workspace that has the package"
    )


def _interfaces() -> Path:
    """Return the folder of our message files: the installed one, or that of the sources."""
    installed = Path(sys.prefix) / "share" / OURS / "msg"
    return installed if installed.is_dir() else resource_path("interfaces/msg")
