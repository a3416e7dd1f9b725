"""Where episodes begin and end in a stream that nobody cuts by hand."""

from __future__ import annotations

from enum import Enum, auto

import numpy as np

from vla_ros.core.conventions import PATIENCE_NS
from vla_ros.core.types import FloatArray
from vla_ros.data.recording.context import Context

#: A command that changes by no more than this is rest [rad].
REST_RAD = 2e-3


class Edge(Enum):
    """What is due."""

    BEGIN = auto()
    END = auto()
    SPLIT = auto()


class Boundaries:
    """Begins an episode when the robot moves; ends it at rest, at another instruction, or length.

    Without a gate nobody knows whether the robot moves: then all time belongs to episodes.
    """

    def __init__(self, *, idle_s: float, longest_s: float) -> None:
        """End episodes after `idle_s` of rest [s], and after `longest_s` in any case [s]."""
        self._idle_ns, self._longest_ns = round(1e9 * idle_s), round(1e9 * longest_s)
        self._anchor: FloatArray | None = None
        self._first_ns = self._moved_ns = self._began_ns = 0
        self._instruction = ""

    def begun(self, instruction: str, now_ns: int) -> None:
        """Take note that an episode for `instruction` began at `now_ns` [ns]."""
        self._instruction, self._began_ns, self._moved_ns = instruction, now_ns, now_ns

    def check(self, context: Context, now_ns: int, *, recording: bool) -> Edge | None:
        """Return what is due after a message that came at `now_ns` [ns]."""
        self._first_ns = self._first_ns or now_ns
        moves = self._moves(context, now_ns)
        if not recording:
            return Edge.BEGIN if moves else None
        if context.instruction and context.instruction != self._instruction:
            if self._instruction:
                return Edge.SPLIT
            self._instruction = context.instruction
        if now_ns - self._moved_ns > self._idle_ns:
            return Edge.END
        return Edge.SPLIT if now_ns - self._began_ns > self._longest_ns else None

    def _moves(self, context: Context, now_ns: int) -> bool:
        if context.gate is None:
            if now_ns - self._first_ns < PATIENCE_NS:
                return False  # it may still be on its way
            self._moved_ns = now_ns
            return True
        if not context.gate.executes:
            self._anchor = None
            return False
        command = context.gate.command
        if self._anchor is None or self._anchor.shape != command.shape:
            self._anchor = command
            return False
        if not (np.abs(command - self._anchor) <= REST_RAD).all():
            self._anchor, self._moved_ns = command, now_ns
            return True
        return False
