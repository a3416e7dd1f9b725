"""One number for an episode.

    score = 100 x product over distinct (check, topic) of (1 - loss)

where the loss of an error is 0.6, of a warning 0.2, and of what is worth knowing 0. A check counts
once per topic, however often it found something; an episode that cannot be read scores 0. So one
warning leaves 80, two 64, an error 40: below 50 an episode has an error, or four warnings.
"""

from __future__ import annotations

from collections.abc import Iterable

from vla_ros.data.quality.finding import Finding, Severity

LOSSES = {Severity.INFO: 0.0, Severity.WARNING: 0.2, Severity.ERROR: 0.6}
#: Findings that leave nothing of an episode.
WORTHLESS = frozenset({"unreadable"})


def score_of(findings: Iterable[Finding]) -> int:
    """Return the score of an episode with these findings, 0 to 100."""
    losses: dict[tuple[str, str], float] = {}
    for item in findings:
        if item.check in WORTHLESS:
            return 0
        key = (item.check, item.topic)
        losses[key] = max(losses.get(key, 0.0), LOSSES[item.severity])
    score = 100.0
    for loss in losses.values():
        score *= 1.0 - loss
    return round(score)
