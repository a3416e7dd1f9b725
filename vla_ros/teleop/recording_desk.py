"""What an operator on the network can do with the recorder, and sees of it.

Beside the messages of `network`, a client may send

    {"type": "record", "command": "start", "text": "put the red cube in the bowl"}

with the commands below; `text` belongs to `start` alone, as the instruction, "" for the
`sentence` of the simulated scene, or else the one in force. Whoever is connected is told a few
times a second

    {"type": "recording", "state": "recording", "episode": "episode_000003", "instruction": "...",
     "duration_s": 4.2, "messages": 1234, "lost": 0, "disk_free_gb": 120.0, "episodes": 3,
     "sentence": "lift the ball", "warnings": [], "said": "started episode_000003"}

where `state` is `idle`, `recording`, `watching` or `absent`, and `said` what came of the last
command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from vla_ros.teleop.network_messages import Refused, read_object

#: Longest instruction [characters].
LONGEST = 500


class DeskCommand(StrEnum):
    """What may be asked; success and failure label an episode, and end it if it still runs."""

    START = "start"
    STOP = "stop"
    SUCCESS = "success"
    FAILURE = "failure"
    DISCARD = "discard"
    UNDO = "undo"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskRequest:
    """One command; `text` is the instruction of `start`."""

    command: DeskCommand
    text: str = ""


class RecordingDesk(Protocol):
    """Passes on to the recorder what operators ask; called from the connections' threads."""

    def ask(self, request: DeskRequest) -> None:
        """Have something done; returns at once, what came of it is in the next report."""

    def report(self) -> Mapping[str, Any]:
        """Return what operators are told, without its `type`."""


def read_request(text: str | bytes) -> DeskRequest | None:
    """Return what a frame asks for; None if it is of another type.

    Raises:
        Refused: if anything in it is not as it should be; names it.
    """
    values = read_object(text)
    if values.get("type") != "record":
        return None
    command, words = values.get("command"), values.get("text", "")
    if command not in list(DeskCommand):
        raise Refused(f"command: expected one of {', '.join(DeskCommand)}, got {command!r}")
    if not isinstance(words, str) or len(words) > LONGEST or not words.isprintable():
        raise Refused(f"text: expected a line of at most {LONGEST} characters, got {words!r:.80}")
    return DeskRequest(command=DeskCommand(command), text=words.strip())
