"""Texts of message types, as MCAP files carry them: who reads one needs no ROS 2 to decode it."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path

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
    try:
        text, _ = typestore().generate_msgdef(name, ros_version=2)
    except KeyError:
        raise UserError(
            f"{name}: no such message type is known; only ROS 2's own and {OURS} can be recorded"
        ) from None
    return text


def _interfaces() -> Path:
    """Return the folder of our message files: the installed one, or that of the sources."""
    installed = Path(sys.prefix) / "share" / OURS / "msg"
    return installed if installed.is_dir() else resource_path("interfaces/msg")
