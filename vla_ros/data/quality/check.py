"""What a check is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from vla_ros.data.quality.finding import Finding
from vla_ros.data.quality.signals import Signals
from vla_ros.data.quality.summary import Summary
from vla_ros.data.quality.thresholds import Thresholds


class EpisodeCheck(Protocol):
    """Looks at one episode; a function will do."""

    def __call__(self, signals: Signals, thresholds: Thresholds) -> Iterable[Finding]:
        """Yield what is wrong; `Finding.episode` is filled in afterwards."""
        ...


class RecordingCheck(Protocol):
    """Compares the episodes of a recording with each other; a function will do."""

    def __call__(self, episodes: Sequence[Summary], thresholds: Thresholds) -> Iterable[Finding]:
        """Yield what is wrong, with the name of the episode, or "" for the recording."""
        ...
