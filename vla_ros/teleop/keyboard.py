"""The keyboard of a terminal: no window system, no permission, works over SSH.

A terminal says that a key was pressed, again while it is held, and never that it was released. So
there is no dead-man switch to hold: the space bar takes the arm and gives it back, and what moves
is a key that is held. It counts for `HOLD_S` after each repetition; the arm stands still when no
key comes. Between the first press and the first repetition, 250 to 500 ms by the terminal's
settings, the arm stops again: a short press is a small step.

A terminal that is closed, or an SSH connection that breaks, is silence: the gate holds the arm.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vla_ros.core.errors import UserError
from vla_ros.teleop.device import Feed
from vla_ros.teleop.intent import Intent, Mode, Situation
from vla_ros.teleop.joy import SpeedScale

#: A key counts for this long after it came; terminals repeat at 25 to 30 Hz [s].
HOLD_S = 0.09
SPACE, ESCAPE = " ", "\x1b"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyboardSettings:
    """What keys do.

    Attributes:
        keys: For each mode, which key moves which axis, and to which side: -1 or 1.
        next_mode: Key that changes to the next mode.
        faster: Key that raises the speed.
        slower: Key that lowers it.
        speed: To begin with, above 0 to 1.
    """

    keys: Mapping[Mode, Mapping[str, tuple[str, float]]]
    next_mode: str
    faster: str
    slower: str
    speed: float


class KeyState:
    """What the keys that came mean; knows nothing of terminals."""

    def __init__(self, settings: KeyboardSettings, modes: Sequence[Mode]) -> None:
        """Use `settings`; `modes` in the order in which the key goes through them."""
        self._settings = settings
        self._modes = tuple(modes)
        self._held: dict[str, tuple[float, int]] = {}
        self._speed = SpeedScale(settings.speed)
        self.mode = self._modes[0]
        self.engaged = False

    @property
    def speed(self) -> float:
        """Share of the highest speeds."""
        return self._speed.value

    def press(self, key: str, now_ns: int) -> None:
        """Take a key that came at a time [ns]."""
        settings = self._settings
        binding = settings.keys[self.mode].get(key)
        if key == SPACE:
            self.engaged = not self.engaged
            self._held.clear()
        elif key == ESCAPE:
            self.engaged = False
        elif key == settings.next_mode:
            self.mode = self._modes[(self._modes.index(self.mode) + 1) % len(self._modes)]
            self._held.clear()
        elif key == settings.faster:
            self._speed.raise_()
        elif key == settings.slower:
            self._speed.lower()
        elif binding is not None:
            axis, side = binding
            self._held[axis] = (side, now_ns)

    def intent(self, now_ns: int) -> Intent:
        """Return what the operator wants now [ns]."""
        axes = {
            axis: side
            for axis, (side, time_ns) in self._held.copy().items()  # another thread adds keys
            if now_ns - time_ns <= HOLD_S * 1e9
        }
        return Intent(
            time_ns=now_ns, engaged=self.engaged, mode=self.mode, axes=axes, speed=self.speed
        )


class KeyboardDevice:
    """Reads keys from a terminal in a thread of its own, and shows one line of state there."""

    def __init__(
        self,
        settings: KeyboardSettings,
        modes: Sequence[Mode],
        terminal: str = "",
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Prepare to read.

        Args:
            settings: What keys do.
            modes: In the order in which the key goes through them.
            terminal: Path of the terminal, such as `/dev/pts/3`; "" for the process's own.
            clock_ns: The clock that `read` is called with [ns].
        """
        self._keys = KeyState(settings, modes)
        self._settings = settings
        self._path = terminal or "/dev/tty"
        self._clock_ns = clock_ns
        self._fd: int | None = None
        self._before: list[object] | None = None
        self._thread: threading.Thread | None = None
        self._alive = False
        self._shown = ""

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """None: keys come from the terminal."""
        return ()

    def start(self) -> None:
        """Open the terminal, and have it hand over each key as it comes.

        Raises:
            UserError: if there is none.
        """
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_NOCTTY)
            self._before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
        except (OSError, termios.error) as error:
            self.stop()
            raise UserError(
                f"teleop: the keyboard needs a terminal, and {self._path} is none ({error}): start"
                " it in one, or name it: terminal:=$(tty)"
            ) from error
        self._alive = True
        self._thread = threading.Thread(target=self._listen, name="keyboard", daemon=True)
        self._thread.start()
        self._write(f"\r\n{self.describe()}\r\n")

    def describe(self) -> str:
        """Return which keys there are, one line for each mode."""
        lines = [f"{mode}: {_describe_keys(keys)}" for mode, keys in self._settings.keys.items()]
        settings = self._settings
        lines.append(
            f"space takes and gives back the arm; {settings.next_mode} next mode, "
            f"{settings.faster} faster, {settings.slower} slower"
        )
        return "\r\n".join(lines)

    def read(self, now_ns: int) -> Intent | None:
        """Return what the operator wants; None when the terminal is gone."""
        return self._keys.intent(now_ns) if self._alive else None

    def tell(self, situation: Situation) -> None:
        """Show state, mode and speed in one line that is written over and over."""
        keys = self._keys
        line = f"{situation.state}  {keys.mode}  {100.0 * keys.speed:.0f} %  {situation.reason}"
        if line != self._shown:
            self._shown = line
            self._write(f"\r\x1b[K{line[:100]}")

    def stop(self) -> None:
        """Give the terminal back as it was."""
        self._alive = False
        if self._thread is not None:
            self._thread.join(1.0)
            self._thread = None
        fd, self._fd = self._fd, None
        if fd is None:
            return
        if self._before is not None:
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(fd, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]
            self._before = None
        os.close(fd)

    def _listen(self) -> None:
        fd = self._fd
        assert fd is not None
        while self._alive:
            try:
                ready, _, _ = select.select([fd], [], [], 0.1)
                text = os.read(fd, 64) if ready else None
            except OSError:  # the terminal has hung up
                break
            if text == b"":
                break
            for key in _split_keys((text or b"").decode(errors="ignore")):
                self._keys.press(key, self._clock_ns())
        self._alive = False

    def _write(self, text: str) -> None:
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.write(self._fd, text.encode())


def own_terminal() -> str:
    """Return the path of the terminal that this process was started in, or "" without one."""
    for stream in (sys.stdin, sys.stdout):
        with contextlib.suppress(OSError, ValueError):
            return os.ttyname(stream.fileno())
    return ""


def _split_keys(text: str) -> list[str]:
    """Return the keys of what a terminal has sent; arrows are `up`, `down`, `left`, `right`."""
    for code, name in (("A", "up"), ("B", "down"), ("C", "right"), ("D", "left")):
        for begin in ("\x1b[", "\x1bO"):
            text = text.replace(begin + code, f"\x00{name}\x00")
    keys: list[str] = []
    for index, part in enumerate(text.split("\x00")):
        keys += [part] if index % 2 else list(part)
    return keys


def _describe_keys(keys: Mapping[str, tuple[str, float]]) -> str:
    return "  ".join(
        f"{key} {axis}{'+' if side > 0 else '-'}" for key, (axis, side) in keys.items()
    )
