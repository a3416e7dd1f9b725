"""How a goal ended."""

from __future__ import annotations

from enum import IntEnum


class Outcome(IntEnum):
    """The constants of `RunInstruction.action`, by the same names and numbers."""

    SUCCEEDED = 0
    TIMED_OUT = 1
    CANCELED = 2
    REJECTED = 3
    PREEMPTED = 4
    HELD = 5
    FAILED = 6
    NOT_FOUND = 7
