"""Checks recordings: their episodes, and what is kept of all of them against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from vla_ros.core.errors import UserError
from vla_ros.data.lerobot.layout import INFO
from vla_ros.data.quality import recording_checks, text_checks
from vla_ros.data.quality.check import RecordingCheck
from vla_ros.data.quality.finding import Finding, Severity
from vla_ros.data.quality.inspection import Inspection, inspect_dataset, inspect_episodes
from vla_ros.data.quality.language import Language
from vla_ros.data.quality.thresholds import Thresholds
from vla_ros.data.storage import Source, episode_sources, is_url


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """What was found in a recording.

    Attributes:
        inspections: Of its episodes, in order.
        findings: About the recording as a whole.
        thresholds: That it was judged by.
        classes: In how many episodes each class of thing occurs, by kind.
    """

    inspections: tuple[Inspection, ...]
    findings: tuple[Finding, ...]
    thresholds: Thresholds = field(default_factory=Thresholds)
    classes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def everything(self) -> list[Finding]:
        """All findings, those of the recording first."""
        return [*self.findings, *(f for item in self.inspections for f in item.findings)]

    def reaches(self, severity: Severity) -> bool:
        """Return whether anything that was found is as bad as `severity`."""
        return any(item.severity >= severity for item in self.everything)

    def counts(self) -> Mapping[str, int]:
        """Return how often each check found something, the most frequent first."""
        return dict(Counter(item.check for item in self.everything).most_common())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "episodes": {
                item.name: {
                    "folder": str(item.folder),
                    "score": item.score,
                    "duration_s": item.summary.duration_s,
                    "instruction": item.summary.instruction,
                    "outcome": item.summary.outcome,
                    "lag_s": item.summary.lag.seconds if item.summary.lag else None,
                    "messages": dict(item.summary.messages),
                    "findings": [finding.to_dict() for finding in item.findings],
                }
                for item in self.inspections
            },
            "recording": [finding.to_dict() for finding in self.findings],
            "counts": self.counts(),
            "classes": {kind: dict(counts) for kind, counts in self.classes.items()},
        }


def compare_episodes(
    inspections: Sequence[Inspection],
    thresholds: Thresholds,
    language: Language | None = None,
) -> QualityReport:
    """Compare the episodes with each other, and put everything together."""
    language = language or Language()
    readable = [item.summary for item in inspections if item.summary.messages]
    found = [
        finding
        for check in recording_checks_with(language)
        for finding in check(readable, thresholds)
    ]
    whole = []
    for item in inspections:
        known = {(finding.check, finding.topic) for finding in item.findings}
        more = [
            finding
            for finding in found
            if finding.episode == item.name and not _said(finding, known)
        ]
        whole.append(replace(item, findings=(*item.findings, *more)))
    return QualityReport(
        inspections=tuple(whole),
        findings=tuple(finding for finding in found if not finding.episode),
        thresholds=thresholds,
        classes=language.count(readable),
    )


def recording_checks_with(language: Language) -> tuple[RecordingCheck, ...]:
    """Return the checks of a recording whose instructions are in a language."""
    return (
        recording_checks.check_contracts,
        recording_checks.check_duplicates,
        recording_checks.check_lags,
        recording_checks.check_outliers,
        recording_checks.BalanceCheck(language),
        text_checks.SpellingCheck(language.known),
    )


def is_dataset(source: Source) -> bool:
    """Return whether a source is the folder of a LeRobotDataset."""
    return not is_url(source) and (Path(source) / INFO).is_file()


def find_episodes(recordings: Sequence[Source], datasets: Sequence[Path] = ()) -> list[Source]:
    """Return the folders, or URLs, of all episodes of some recordings; `datasets` have their own.

    Raises:
        UserError: if there is no recording, or one of them is none; names it.
    """
    if not recordings and not datasets:
        raise UserError("expected the folder of a recording, got none")
    return [episode for recording in recordings for episode in episode_sources(recording)]


def check_recordings(
    recordings: Sequence[Source],
    thresholds: Thresholds | None = None,
    *,
    language: Language | None = None,
    workers: int = 1,
    ray_address: str | None = None,
    on_episode: Callable[[Inspection], None] = lambda inspection: None,
) -> QualityReport:
    """Check recordings as one; what the command does.

    Args:
        recordings: Their folders, or URLs.
        thresholds: From where on something is a finding; the defaults if None.
        language: Of the instructions; nothing is known of it if None.
        workers: Processes; 0 for one per core.
        ray_address: Of a Ray cluster that does the work; None for processes of this machine.
        on_episode: Is told of each episode that was looked at, in any order.

    Raises:
        UserError: if there is no recording.
    """
    thresholds = thresholds or Thresholds()
    datasets = [Path(item) for item in recordings if is_dataset(item)]
    sources = find_episodes([item for item in recordings if not is_dataset(item)], datasets)
    inspections: dict[Path, Inspection] = {}
    done = inspect_episodes(sources, thresholds, workers=workers, ray_address=ray_address)
    of_datasets = (inspect_dataset(root, thresholds) for root in datasets)
    for item in chain(done, *of_datasets):
        inspections[item.folder] = item
        on_episode(item)
    recorded = [inspections.pop(Path(source)) for source in sources]
    return compare_episodes([*recorded, *inspections.values()], thresholds, language)


def _said(finding: Finding, known: set[tuple[str, str]]) -> bool:
    """Return whether the episode's own checks have said the same already: its lag is too long."""
    return finding.check == "lag" and any(check == "lag" for check, _ in known)
