"""Changes what a recorded robot was told, in every message that says it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from vla_ros.core.conventions import NAMESPACE
from vla_ros.data.message_definitions import typestore
from vla_ros.data.message_file import RecordedMessage
from vla_ros.data.tools.episode_copy import ChangeMessage

INSTRUCTION = f"{NAMESPACE}/instruction"
TEXT = "std_msgs/msg/String"
CHUNK = "vla_ros_interfaces/msg/ActionChunk"


def tell_instead(texts: Mapping[str, str]) -> ChangeMessage:
    """Return what replaces instructions, old -> new, on the topic of instructions and in chunks.

    Chunks say which instruction they were made for; who reads a recording compares the two.
    """
    return rewrite_instruction(lambda text: texts.get(text, text))


def rewrite_instruction(change: Callable[[str], str]) -> ChangeMessage:
    """Return what gives each told instruction to `change` and writes what that returns."""

    def rewrite(message: RecordedMessage) -> RecordedMessage:
        if message.topic == INSTRUCTION and message.type == TEXT:
            return _with(message, "data", change)
        if message.type == CHUNK:
            return _with(message, "instruction", change)
        return message

    return rewrite


def _with(message: RecordedMessage, field: str, change: Callable[[str], str]) -> RecordedMessage:
    store = typestore()
    value: Any = store.deserialize_cdr(message.data, message.type)
    old = getattr(value, field)
    new = change(old)
    if new == old:
        return message
    setattr(value, field, new)
    return replace(message, data=bytes(store.serialize_cdr(value, message.type)))
