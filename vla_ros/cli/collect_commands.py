"""What a collector tells `vla_ros collect`: keys of a terminal, or lines of the standard input."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: Every command and what it does, as `help` and the documentation say it.
COMMANDS: Mapping[str, str] = {
    "toggle": "start an episode, or end it",
    "start": "start an episode",
    "stop": "end it",
    "success": "end it as a success; afterwards: label the last one",
    "failure": "end it as a failure; afterwards: label the last one",
    "discard": "put the episode, or the last one, aside",
    "undo": "take back what was discarded last",
    "scene": "lay the simulated table anew",
    "instruction": "say what the robot is to do in the next episode",
    "label": "say anything else of the episode",
    "quit": "end the episode and everything",
}
#: Commands that go on to the end of the line.
WITH_TEXT = ("instruction", "label")
KEYS: Mapping[str, str] = {
    "\r": "toggle",
    "\n": "toggle",
    "s": "success",
    "f": "failure",
    "d": "discard",
    "u": "undo",
    "n": "scene",
    "i": "instruction",
    "l": "label",
    "q": "quit",
}
KEY_HELP = (
    "[Enter] start/stop  [S]uccess  [F]ailure  [D]iscard  [U]ndo  [I]nstruction  [L]abel  "
    "[N]ew scene  [Q]uit"
)
ESCAPE, BACKSPACES = "\x1b", ("\x7f", "\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One of COMMANDS, with the text that belongs to it."""

    name: str
    text: str = ""


class KeyReader:
    """Makes commands of single keys; those with a text are typed after their key.

    Attributes:
        prompt: What is being typed, or which keys there are.
    """

    def __init__(
        self, *, capitals_only: bool, pass_on: Callable[[str], None] | None = None
    ) -> None:
        """Begin with nothing typed.

        Args:
            capitals_only: Take capital letters only: small ones move the robot.
            pass_on: Is given every key that is no command.
        """
        self._capitals_only, self._pass_on = capitals_only, pass_on
        self._typing: Command | None = None
        self.prompt = KEY_HELP

    def read(self, key: str) -> Command | None:
        """Return the command that a key (a character, or an escape sequence) completes."""
        if self._typing is not None:
            return self._type(self._typing, key)
        small = self._capitals_only and key.isalpha() and key.islower()
        name = None if small else KEYS.get(key.lower())
        if name is None:
            if self._pass_on is not None:
                self._pass_on(key)
            return None
        if name in WITH_TEXT:
            self._begin(Command(name=name))
            return None
        return Command(name=name)

    def _begin(self, command: Command) -> None:
        self._typing = command
        self.prompt = f"{command.name}: {command.text}_  [Enter] keeps, [Esc] leaves it as it was"

    def _type(self, typed: Command, key: str) -> Command | None:
        if key in ("\r", "\n", ESCAPE):
            self._typing, self.prompt = None, KEY_HELP
            return None if key == ESCAPE else typed
        if key in BACKSPACES:
            self._begin(Command(name=typed.name, text=typed.text[:-1]))
        elif key.isprintable():
            self._begin(Command(name=typed.name, text=typed.text + key))
        return None


def parse_line(line: str) -> Command | None:
    """Return the command of a line, None for an empty one.

    Raises:
        ValueError: if there is no such command; lists those there are.
    """
    word, _, text = line.strip().partition(" ")
    if not word:
        return None
    if word not in COMMANDS or (text and word not in WITH_TEXT):
        raise ValueError(f"'{line.strip()}' is no command; there are {', '.join(COMMANDS)}")
    return Command(name=word, text=text.strip())


@contextlib.contextmanager
def single_keys(descriptor: int) -> Iterator[None]:
    """Have a terminal hand over each key at once, without showing it; restored at the end."""
    before: list[Any] = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def split_keys(text: str) -> Iterator[str]:
    """Yield the keys of what a terminal has handed over: characters and escape sequences."""
    position = 0
    while position < len(text):
        end = position + 1
        if text[position] == ESCAPE and text[position + 1 : position + 2] in ("[", "O"):
            end = position + 2
            while end < len(text) and not text[end].isalpha() and text[end] != "~":
                end += 1
            end += 1
        yield text[position:end]
        position = end


class InputReader:
    """What has come on a descriptor since it was asked last; never waits."""

    def __init__(self, descriptor: int | None = None) -> None:
        """Read from `descriptor`; None takes the standard input."""
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self._line = b""
        self.ended = False

    def read_keys(self) -> Iterator[str]:
        """Yield the keys that were pressed."""
        yield from split_keys(self._read().decode(errors="ignore"))

    def read_lines(self) -> Iterator[str]:
        """Yield the lines that are complete; what was left when the input ended is one."""
        *lines, self._line = (self._line + self._read()).split(b"\n")
        if self.ended and self._line:
            lines, self._line = [*lines, self._line], b""
        for line in lines:
            yield line.decode(errors="replace")

    def _read(self) -> bytes:
        taken = b""
        while not self.ended and select.select([self._descriptor], [], [], 0.0)[0]:
            piece = os.read(self._descriptor, 4096)
            self.ended = not piece
            taken += piece
        return taken
