"""The instruction in force: it ends with whoever stands behind it, and may begin anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be done. The same words after a pause are another thing to do.

    Attributes:
        text: The instruction; '' for nothing.
        pauses: How often there was nothing to do before.
        dropped: Whether there is nothing to do because nobody repeated the last one.
    """

    text: str = ""
    pauses: int = 0
    dropped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    text: str
    pauses: int
    time_ns: int


class InstructionInput:
    """Takes what is published. One thread tells it, another asks; there is no lock.

    What was heard and when is one value: a reader never gets new words with an old time.
    """

    def __init__(self, timeout_s: float, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Drop what is not repeated for `timeout_s` [s], never if that is 0; `now_ns` in [ns]."""
        self._timeout_s = timeout_s
        self._now_ns = now_ns
        self._heard = _Heard(text="", pauses=0, time_ns=now_ns())

    def hear(self, text: str) -> bool:
        """Take a message; return whether it says another thing than the last one."""
        before = self._heard
        pauses = before.pauses + bool(before.text and not text)
        self._heard = _Heard(text=text, pauses=pauses, time_ns=self._now_ns())
        return text != before.text

    def wanted(self) -> Wanted:
        """Return what is to be done now."""
        heard = self._heard
        silent_s = (self._now_ns() - heard.time_ns) * 1e-9
        if heard.text and 0.0 < self._timeout_s < silent_s:
            return Wanted(pauses=heard.pauses, dropped=True)
        return Wanted(text=heard.text, pauses=heard.pauses)
