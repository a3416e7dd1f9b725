"""What the user of `vla_ros collect` types: commands for the session, keys that move the robot."""

from __future__ import annotations

import contextlib
import sys
from types import TracebackType

from vla_ros.cli.collect_commands import InputReader, KeyReader, single_keys
from vla_ros.cli.collect_keyboard import OperatorTerminal
from vla_ros.cli.collect_session import Session

KEYBOARD = "keyboard"


class Inputs:
    """Keys of a terminal where there is one, or else lines of the standard input.

    Attributes:
        address: Of the page for operators on the network; "" if there is none.
    """

    def __init__(self, teleop: str) -> None:
        """Find out what there is; `teleop` is what moves the robot."""
        self.address = ""
        self._stack = contextlib.ExitStack()
        self._reader = InputReader()
        self._keys: KeyReader | None = None
        self._robot: OperatorTerminal | None = None
        if sys.stdin.isatty():
            moves = teleop == KEYBOARD
            self._robot = self._stack.enter_context(OperatorTerminal()) if moves else None
            pass_on = self._robot.press if self._robot else None
            self._keys = KeyReader(capitals_only=moves, pass_on=pass_on)

    def __enter__(self) -> Inputs:
        """Have the terminal hand over single keys."""
        if self._keys is not None:
            self._stack.enter_context(single_keys(sys.stdin.fileno()))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Restore the terminal."""
        self._stack.close()

    @property
    def terminal(self) -> str:
        """Path of the terminal for the node that the keyboard moves the robot with; or ""."""
        return self._robot.path if self._robot else ""

    @property
    def prompt(self) -> str:
        """What can be typed, or is."""
        return self._keys.prompt if self._keys else ""

    @property
    def operator(self) -> tuple[str, ...]:
        """What operators have to know: the keyboard's keys and state, or the page's address."""
        page = (f"operators: {self.address}",) if self.address else ()
        return page + (self._robot.lines() if self._robot else ())

    def serve(self, session: Session) -> None:
        """Do what has been typed."""
        if self._keys is None:
            for line in self._reader.read_lines():
                session.read(line)
            return
        for key in self._reader.read_keys():
            command = self._keys.read(key)
            if command is not None:
                session.do(command)
