"""What a check says about an episode: where, what was expected, what came, and the way out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from vla_ros.core.errors import UserError


class Severity(IntEnum):
    """How much a finding matters.

    INFO is worth knowing and costs an episode nothing. WARNING makes a policy worse that is
    trained on it. ERROR makes it wrong: what is recorded is not what happened.
    """

    INFO = 1
    WARNING = 2
    ERROR = 3

    @property
    def word(self) -> str:
        """Its name in small letters."""
        return self.name.lower()

    @classmethod
    def parse(cls, word: str) -> Severity:
        """Return the severity of a word.

        Raises:
            UserError: if there is none; lists them.
        """
        for item in cls:
            if item.word == word:
                return item
        words = ", ".join(item.word for item in cls)
        raise UserError(f"severity: expected one of {words}, got '{word}'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        check: Name of the check that found it, such as `frozen`.
        severity: How much it matters.
        expected: What should be, in words.
        got: What is, in words.
        remedy: What to do about it, in words.
        episode: Name of the episode; "" for the whole recording.
        topic: Topic that it is about; "" for none.
        time_s: Where it begins, from the start of the episode [s]; None for all of it.
        until_s: Where it ends [s]; None for a moment, or all of it.
    """

    check: str
    severity: Severity
    expected: str
    got: str
    remedy: str
    episode: str = ""
    topic: str = ""
    time_s: float | None = None
    until_s: float | None = None

    @property
    def when(self) -> str:
        """Where in the episode it is, in words; "" for all of it."""
        if self.time_s is None:
            return ""
        if self.until_s is None:
            return f"at {self.time_s:.2f} s"
        return f"{self.time_s:.2f}–{self.until_s:.2f} s"

    @property
    def text(self) -> str:
        """Everything but episode and severity in one line."""
        where = " ".join(part for part in (self.topic, self.when) if part)
        return f"{where}{': ' if where else ''}expected {self.expected}, got {self.got}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "episode": self.episode,
            "check": self.check,
            "severity": self.severity.word,
            "topic": self.topic,
            "time_s": self.time_s,
            "until_s": self.until_s,
            "expected": self.expected,
            "got": self.got,
            "remedy": self.remedy,
        }
