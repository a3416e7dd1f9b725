"""Hands what callbacks receive to the gate in its control thread, without locks."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from vla_ros.core.errors import ChunkRejected, SafetyError
from vla_ros.core.types import ActionChunk, FloatArray
from vla_ros.ros.periodic import Jitter
from vla_ros.safety import Command, Gate

#: A robot whose state was away for longer than this, and that is now farther than this from where
#: it was and from its command, was moved or restarted: the gate begins anew where it is instead of
#: pulling it back.
AWAY_S, MOVED_RAD = 0.25, 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Joint positions (n,) [rad] and when they were measured [ns]."""

    positions: FloatArray
    time_ns: int


class GateDriver:
    """Owns a gate. Callbacks leave references in slots; `tick` takes them in the control thread.

    The control thread alone touches the gate while it ticks. Assigning an attribute, and appending
    to or popping from a deque or list, are atomic, so there is no lock that a slow callback could
    hold.
    """

    def __init__(self, gate: Gate) -> None:
        """Drive `gate`."""
        self.gate = gate
        self.measured: Measured | None = None
        self.command: Command | None = None
        self.chunk_fault = ""
        self.pressed = False
        self._press_events: deque[bool] = deque()
        self._chunk: ActionChunk | None = None
        self._idle = False
        self._stopping = False
        self._rested = threading.Event()
        self._resets: list[Future[str]] = []
        self._last_measured: Measured | None = None
        self._taken_ns: int | None = None
        #: From the stamp of a chunk's observation to the first command made of it.
        self.latency = Jitter()

    def offer(self, chunk: ActionChunk) -> None:
        """Leave a chunk for the next tick, in place of one that has not been taken yet."""
        self._chunk = chunk

    def idle(self) -> None:
        """The policy has nothing to do: the rest of its chunk is not executed."""
        self._chunk = None
        self._idle = True

    def press(self, pressed: bool) -> None:
        """Press or release the emergency stop; a press between two ticks counts as well."""
        if pressed != self.pressed:
            self.pressed = pressed
            self._press_events.append(pressed)

    @property
    def stopped(self) -> bool:
        """Whether the emergency stop is pressed, or latched since it was."""
        return self.gate.stopped or bool(self._press_events)

    def reset(self, timeout_s: float) -> str:
        """Begin anew where the robot is; return why that cannot be, or ''. Waits for a tick."""
        done: Future[str] = Future()
        self._resets.append(done)
        try:
            return done.result(timeout_s)
        except TimeoutError:
            self._resets.clear()
            return "the gate is not active"

    def brake(self, timeout_s: float) -> bool:
        """Stop for good and wait until the command stands still; return whether it does."""
        self._stopping = True
        return self._rested.wait(timeout_s)

    def tick(self, now_ns: int) -> Command:
        """Decide one command; the control thread calls it once per period."""
        gate, measured = self.gate, self.measured
        self._take(now_ns, measured)
        if measured is None:
            command = gate.tick(now_ns, None)
        else:
            command = gate.tick(now_ns, measured.positions, measured.time_ns)
        self.command = command
        if self._stopping and (command.positions is None or gate.at_rest):
            self._rested.set()
        return command

    def note_sent(self, now_ns: int) -> None:
        """The command of the last tick is on its way; called after it was published."""
        if self._taken_ns is not None:
            self.latency.record(now_ns - self._taken_ns)
            self._taken_ns = None

    def _take(self, now_ns: int, measured: Measured | None) -> None:
        """Apply what the callbacks have left."""
        while self._press_events:
            self.gate.estop(self._press_events.popleft())
        if measured is not None:
            self._notice_absence(now_ns, measured)
        if self._resets:
            self._resets.pop(0).set_result(self._reset(now_ns, measured))
        if self._stopping:
            self.gate.drop_chunk("the gate is being stopped")
        elif self._idle:
            self._idle = False
            self.gate.drop_chunk("the policy is idle")
        else:
            self._accept(now_ns)

    def _accept(self, now_ns: int) -> None:
        chunk, self._chunk = self._chunk, None
        if chunk is None:
            return
        try:
            self.gate.accept(chunk, now_ns)
            self.chunk_fault = ""
            self._taken_ns = chunk.stamp_ns
        except ChunkRejected as error:
            self.chunk_fault = error.reason

    def _notice_absence(self, now_ns: int, measured: Measured) -> None:
        """Begin anew where the robot is, if it was away and is not where it was left."""
        last, self._last_measured = self._last_measured, measured
        command = self.gate.command
        if last is None or command is None or self.gate.stopped:
            return
        if measured.time_ns - last.time_ns <= AWAY_S * 1e9:
            return
        # a gripper that holds something is always far from its command: it has to have moved, too
        if all(_distance(measured.positions, x) > MOVED_RAD for x in (last.positions, command)):
            self.gate.reset(measured.positions, now_ns)

    def _reset(self, now_ns: int, measured: Measured | None) -> str:
        if measured is None or now_ns - measured.time_ns > self.gate.config.max_state_age_s * 1e9:
            return "no current joint state"
        try:
            self.gate.reset(measured.positions, now_ns)
        except SafetyError as error:
            return str(error)
        return ""


def _distance(one: FloatArray, other: FloatArray) -> float:
    return float(np.abs(one - other).max())
