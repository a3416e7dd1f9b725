"""Hands what callbacks receive to the gate in its control thread, without locks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vla_ros.core.errors import ChunkRejected, SafetyError
from vla_ros.core.types import ActionChunk, FloatArray
from vla_ros.ros.periodic import Jitter
from vla_ros.safety import Actor, Arbitration, Command, Gate

#: A robot whose state was away for longer than this, and that is now farther than this from where
#: it was and from its command, was moved or restarted: the gate begins anew where it is instead of
#: pulling it back.
AWAY_S, MOVED_RAD = 0.25, 0.1
#: A gate that ends repeats the command at rest, since a robot that is busy may miss one.
LAST_COMMANDS = 3

#: Called once from the control thread with why something cannot be done, or ''.
Answer = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Joint positions (n,) [rad] and when they were measured [ns]."""

    positions: FloatArray
    time_ns: int


class GateDriver:
    """Owns a gate. Callbacks leave references in slots; `tick` takes them in the control thread.

    The control thread alone touches the gate while it ticks. Assigning an attribute, and appending
    to or popping from a deque, are atomic, so there is no lock that a slow callback could hold.
    """

    def __init__(self, gate: Gate) -> None:
        """Drive `gate`."""
        self.gate = gate
        self.arbitration = Arbitration(gate)
        self.measured: Measured | None = None
        self.command: Command | None = None
        self.actor = Actor.NOBODY
        self.chunk_fault = ""
        self.operator_fault = ""
        self.buttons: frozenset[str] = frozenset()
        self._press_events: deque[bool] = deque()
        self._chunk: ActionChunk | None = None
        self._idle = False
        self._operator: deque[ActionChunk | None] = deque()
        self._stopping = False
        self._ticks_at_rest = 0
        self._rested = threading.Event()
        self._resets: deque[Answer] = deque()
        self._moved = False
        self._last_measured: Measured | None = None
        self._taken_ns: int | None = None
        self._error: Exception | None = None
        #: From the stamp of a chunk's observation to the first command made of it.
        self.latency = Jitter()

    def offer(self, chunk: ActionChunk) -> None:
        """Leave a chunk for the next tick, in place of one that has not been taken yet."""
        self._chunk = chunk

    def idle(self) -> None:
        """The policy has nothing to do: the rest of its chunk is not executed."""
        self._chunk = None
        self._idle = True

    def operate(self, chunk: ActionChunk | None) -> None:
        """Leave a chunk of an operator for the next tick; None for letting go.

        Letting go between two chunks counts, too.
        """
        self._operator.append(chunk)

    def press(self, pressed: bool, button: str) -> None:
        """Press or release one of the buttons; the stop is pressed as long as any of them is.

        A press between two ticks counts as well.
        """
        was = self.pressed
        self.buttons = self.buttons | {button} if pressed else self.buttons - {button}
        if self.pressed != was:
            self._press_events.append(self.pressed)

    @property
    def pressed(self) -> bool:
        """Whether a button of the emergency stop is pressed."""
        return bool(self.buttons)

    @property
    def stopped(self) -> bool:
        """Whether the emergency stop is pressed, or latched since it was."""
        return self.gate.stopped or bool(self._press_events)

    def reset(self, answer: Answer) -> None:
        """Brake, and begin anew where the robot is as soon as the command stands still."""
        self._resets.append(answer)

    def brake(self, timeout_s: float) -> bool:
        """Stop for good and wait until the command stands still; return whether it does."""
        self._stopping = True
        return self._rested.wait(timeout_s)

    def tick(self, now_ns: int) -> Command:
        """Decide one command; the control thread calls it once per period.

        An error in here is a bug of ours: it is raised when the arm has been brought to rest,
        since braking needs nothing but the motion itself.
        """
        gate = self.gate
        if self._error is None:
            try:
                self.command = self._decide(now_ns)
            except Exception as error:  # noqa: BLE001 whatever it is, the arm comes to rest first
                self._error = error
        if self._error is not None:
            if gate.at_rest:
                self._rested.set()
                raise self._error
            self.command = gate.tick(now_ns, None)
        assert self.command is not None
        self.actor = self.arbitration.actor(self.command)
        if self._stopping:
            self._count_rest(self.command)
        return self.command

    def _count_rest(self, command: Command) -> None:
        self._ticks_at_rest = self._ticks_at_rest + 1 if self.gate.at_rest else 0
        if command.positions is None or self._ticks_at_rest == LAST_COMMANDS:
            self._rested.set()

    def note_sent(self, now_ns: int) -> None:
        """The command of the last tick is on its way; called after it was published."""
        if self._taken_ns is not None:
            self.latency.record(now_ns - self._taken_ns)
            self._taken_ns = None

    def _decide(self, now_ns: int) -> Command:
        """Apply what the callbacks have left, and let the gate decide."""
        measured = self.measured
        while self._press_events:
            self.gate.estop(self._press_events.popleft())
        if measured is not None:
            self._notice_absence(measured)
        operated = self._hear_operator(now_ns)
        if self._stopping:
            self._answer("the gate is being stopped")
            self.gate.drop_chunk("the gate is being stopped")
        elif self._resets or self._moved:
            if operated is not None:
                self.arbitration.hear(operated, now_ns)
            self._begin_anew(now_ns, measured)
        else:
            if operated is not None:
                self._obey(operated, now_ns)
            if self._idle:
                self._idle = False
                self.chunk_fault = ""
                self.arbitration.idle()
            else:
                self._accept(now_ns)
        if measured is None:
            return self.gate.tick(now_ns, None)
        return self.gate.tick(now_ns, measured.positions, measured.time_ns)

    def _hear_operator(self, now_ns: int) -> ActionChunk | None:
        """Note that the operator has let go; return the newest chunk since then."""
        newest: ActionChunk | None = None
        while self._operator:
            newest = self._operator.popleft()
            if newest is None:
                self.operator_fault = ""
                self.arbitration.let_go(now_ns)
        return newest

    def _obey(self, chunk: ActionChunk, now_ns: int) -> None:
        try:
            self.arbitration.take_operator(chunk, now_ns)
            self.operator_fault = ""
        except ChunkRejected as error:
            self.operator_fault = error.reason

    def _accept(self, now_ns: int) -> None:
        chunk, self._chunk = self._chunk, None
        if chunk is None:
            return
        try:
            if self.arbitration.take_policy(chunk, now_ns):
                self._taken_ns = chunk.stamp_ns
            self.chunk_fault = ""
        except ChunkRejected as error:
            self.chunk_fault = error.reason

    def _notice_absence(self, measured: Measured) -> None:
        """Want to begin anew if the robot was away and is not where it was left."""
        last, self._last_measured = self._last_measured, measured
        command = self.gate.command
        if self.gate.stopped:
            self._moved = False  # whoever resets the stop sees where the robot is
            return
        if last is None or command is None:
            return
        if measured.time_ns - last.time_ns <= AWAY_S * 1e9:
            return
        # a gripper that holds something is always far from its command: it has to have moved, too
        if all(_distance(measured.positions, x) > MOVED_RAD for x in (last.positions, command)):
            self._moved = True

    def _begin_anew(self, now_ns: int, measured: Measured | None) -> None:
        """Brake; once the command stands still, go on from where the robot is."""
        self._chunk, self._idle = None, False
        self.gate.drop_chunk("the gate begins anew when the arm stands still")
        if not self.gate.at_rest:
            return
        stopped = self.gate.stopped
        fault = self._reset(now_ns, measured)
        if not fault:
            self._moved = False
            self.chunk_fault = self.operator_fault = ""
            if self._resets and not stopped:  # a person wants to go on without the operator
                self.arbitration.let_silent_go(now_ns)
        self._answer(fault)

    def _reset(self, now_ns: int, measured: Measured | None) -> str:
        if measured is None:
            return "no joint state"
        fault = self.gate.state_check.fault(now_ns, measured.positions, measured.time_ns)
        if fault:
            return fault
        try:
            self.gate.reset(measured.positions, now_ns)
        except SafetyError as error:
            return str(error)
        return ""

    def _answer(self, fault: str) -> None:
        """Tell everybody who asked for a reset."""
        while self._resets:
            self._resets.popleft()(fault)


def _distance(one: FloatArray, other: FloatArray) -> float:
    return float(np.abs(one - other).max())
