"""Hands keys on to the teleop node, whose keyboard is a terminal: a pseudo terminal of ours.

Two that read one terminal would each get some of the keys. So `vla_ros collect` reads them all,
and the node's terminal is one whose other end is here: keys that are no commands go in, and what
the node shows its operator comes out.
"""

from __future__ import annotations

import os
import pty
import re
import select
import tty
from types import TracebackType

#: What a terminal is told beside text: colours, movements, erasing.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
#: Lines that are kept: the node lists its keys, one line for each mode, and then its state.
KEPT_LINES = 6


class OperatorTerminal:
    """A pseudo terminal; a context manager.

    Attributes:
        path: Of the end that the node opens.
    """

    def __init__(self) -> None:
        """Open both ends; ours of the node's end keeps it alive while the node restarts."""
        self._ours, self._theirs = pty.openpty()
        os.set_blocking(self._ours, False)
        self.path = os.ttyname(self._theirs)
        tty.setraw(self._theirs)  # nothing is echoed before the node has opened it
        self._lines: list[str] = [""]
        self._returned = False

    def __enter__(self) -> OperatorTerminal:
        """Return this."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close both ends."""
        os.close(self._ours)
        os.close(self._theirs)

    def press(self, key: str) -> None:
        """Hand on a key; one that nobody takes is lost, as on a terminal that nobody reads."""
        if select.select([], [self._ours], [], 0.0)[1]:
            os.write(self._ours, key.encode())

    def lines(self) -> tuple[str, ...]:
        """Return what the node shows: its keys and, last, its state."""
        while select.select([self._ours], [], [], 0.0)[0]:
            self._show(os.read(self._ours, 4096).decode(errors="replace"))
        return tuple(line for line in self._lines if line)

    def _show(self, text: str) -> None:
        for part in re.split(r"([\r\n])", CONTROL.sub("", text)):
            if part == "\n":
                self._lines = [*self._lines, ""][-KEPT_LINES:]
            elif part == "\r":
                self._returned = True
            elif part:
                self._lines[-1] = part if self._returned else self._lines[-1] + part
            self._returned = self._returned and part in ("", "\r")
