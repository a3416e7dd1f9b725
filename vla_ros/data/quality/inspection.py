"""Checks one episode: of a recording, or of a dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vla_ros.core.errors import UserError
from vla_ros.data.parallel import map_episodes
from vla_ros.data.quality import (
    clock_checks,
    motion_checks,
    picture_checks,
    text_checks,
    topic_checks,
)
from vla_ros.data.quality.check import EpisodeCheck
from vla_ros.data.quality.dataset_reading import DatasetEpisodes
from vla_ros.data.quality.finding import Finding, Severity
from vla_ros.data.quality.reading import read_signals
from vla_ros.data.quality.score import score_of
from vla_ros.data.quality.signals import Signals
from vla_ros.data.quality.summary import Summary, summarize
from vla_ros.data.quality.thresholds import Thresholds
from vla_ros.data.storage import Source

EPISODE_CHECKS: tuple[EpisodeCheck, ...] = (
    topic_checks.check_whole,
    topic_checks.check_format,
    topic_checks.check_silence,
    topic_checks.check_rates,
    topic_checks.check_gaps,
    topic_checks.check_drops,
    clock_checks.check_clock,
    clock_checks.check_skew,
    clock_checks.check_sight,
    clock_checks.check_order,
    picture_checks.check_frozen,
    picture_checks.check_exposure,
    picture_checks.check_holes,
    motion_checks.check_limits,
    motion_checks.check_lag,
    motion_checks.check_idle,
    text_checks.check_instruction,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """An episode, and what was found in it.

    Attributes:
        folder: Of the episode.
        summary: What is kept of it.
        findings: What is wrong.
    """

    folder: Path
    summary: Summary
    findings: tuple[Finding, ...] = ()

    @property
    def name(self) -> str:
        """Name of the episode."""
        return self.summary.name

    @property
    def score(self) -> int:
        """How good it is, 0 to 100; see `score_of`."""
        return score_of(self.findings)

    @property
    def worst(self) -> Severity | None:
        """Of its findings; None without."""
        return max((item.severity for item in self.findings), default=None)


def inspect_episode(
    folder: Path,
    thresholds: Thresholds,
    checks: Sequence[EpisodeCheck] = EPISODE_CHECKS,
) -> Inspection:
    """Check one episode. One that cannot be read is a finding, and stops no other."""
    try:
        signals = read_signals(folder, thresholds)
    except (UserError, OSError) as error:
        return _unreadable(folder, str(error))
    return inspect_signals(signals, thresholds, checks)


def inspect_signals(
    signals: Signals, thresholds: Thresholds, checks: Sequence[EpisodeCheck] = EPISODE_CHECKS
) -> Inspection:
    """Check what was read of an episode."""
    found = [
        replace(finding, episode=signals.folder.name)
        for check in checks
        for finding in check(signals, thresholds)
    ]
    summary = summarize(signals, thresholds)
    return Inspection(folder=signals.folder, summary=summary, findings=tuple(found))


def inspect_dataset(root: Path, thresholds: Thresholds) -> Iterator[Inspection]:
    """Check the episodes of a LeRobotDataset, one after the other.

    Raises:
        UserError: if it is of another version, or says nothing of its robot.
    """
    dataset = DatasetEpisodes(root, thresholds)
    for index in range(len(dataset)):
        try:
            yield inspect_signals(dataset.read(index), thresholds)
        except (UserError, OSError) as error:
            yield _unreadable(dataset.place(index), str(error))


def inspect_episodes(
    sources: Sequence[Source],
    thresholds: Thresholds,
    *,
    workers: int = 1,
    ray_address: str | None = None,
) -> Iterator[Inspection]:
    """Check episodes, several at a time; yield them as they are done, in any order."""
    work = partial(inspect_episode, thresholds=thresholds)
    done = map_episodes(work, sources, workers=workers, ray_address=ray_address)
    for item in done:
        place = Path(item.source)
        if item.value is None:  # its process was killed: out of memory, say
            yield _unreadable(place, item.error)
        else:
            yield replace(item.value, folder=place)  # of a URL, a copy was checked


def _unreadable(folder: Path, why: str) -> Inspection:
    finding = Finding(
        check="unreadable",
        severity=Severity.ERROR,
        episode=folder.name,
        expected="an episode that can be read",
        got=why,
        remedy="Copy it again, try `vla_ros data recover`, or drop it.",
    )
    return Inspection(folder=folder, summary=Summary(name=folder.name), findings=(finding,))
