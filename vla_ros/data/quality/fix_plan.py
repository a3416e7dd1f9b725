"""What can be mended in a recording without guessing: trim, re-stamp, drop; and what cannot.

A stamp that lies apart from the others' may be wrong, or right and its message slow; a lag may be
of the commands or of the joints. Which it is, a camera on the arm tells: it sees when the arm
moved. Where none does, nothing is re-stamped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vla_ros.contract import STATE, load_contract
from vla_ros.data.episode import CONTRACT
from vla_ros.data.episode_index import full_name
from vla_ros.data.quality.checker import QualityReport
from vla_ros.data.quality.finding import Finding
from vla_ros.data.quality.inspection import Inspection
from vla_ros.data.quality.score import score_of
from vla_ros.data.quality.summary import Summary
from vla_ros.data.quality.thresholds import Thresholds

#: Two measurements of one lag agree within this [s]: half of the two frames of `sight_s`.
AGREES_S = 0.033


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeFix:
    """What is done to one episode.

    Attributes:
        folder: Of the episode.
        dropped: Why it goes to `discarded`; "" if it stays.
        begin_ns: Messages before this go [ns]; None if all stay.
        end_ns: Messages after this go [ns]; None if all stay.
        stamps: By how much the stamps of a topic move [ns].
        receptions: By how much the receptions of a topic move, which has no stamps [ns].
        completed: Whether files that end within a message are written anew, with what is whole.
        changes: What is done, in words.
        left: What is left as it is, and why.
    """

    folder: Path
    dropped: str = ""
    begin_ns: int | None = None
    end_ns: int | None = None
    stamps: dict[str, int] = field(default_factory=dict)
    receptions: dict[str, int] = field(default_factory=dict)
    completed: bool = False
    changes: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def plan_fixes(report: QualityReport) -> list[EpisodeFix]:
    """Return what is done to each episode of a report, in order."""
    lags = [
        item.summary.lag.seconds
        for item in report.inspections
        if item.summary.lag and item.summary.lag.correlation >= report.thresholds.least_correlation
    ]
    # of two, nobody knows which is right
    median_s = float(np.median(lags)) if len(lags) > 2 else None
    return [_plan(item, median_s, report.thresholds) for item in report.inspections]


@dataclass(slots=True)
class _Draft:
    """A fix as it is being planned."""

    begin_ns: int | None = None
    end_ns: int | None = None
    stamps: dict[str, int] = field(default_factory=dict)
    receptions: dict[str, int] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    fixed: list[Finding] = field(default_factory=list)


def _plan(item: Inspection, median_s: float | None, thresholds: Thresholds) -> EpisodeFix:
    draft = _Draft()
    for finding in item.findings:
        if finding.check == "idle":
            _trim(item.summary, finding, thresholds, draft)
        elif finding.check == "skew":
            _restamp_sensor(item.summary, finding, thresholds, draft)
        elif finding.check == "lag":
            _restamp_by_lag(item, finding, median_s, draft)
    cut = any(finding.check == "cut" for finding in item.findings)
    if cut:
        draft.changes.append("completed the files with what is whole in them")
    rest = [finding for finding in item.findings if finding not in draft.fixed]
    dropped = _why_drop(rest, thresholds)
    if dropped:
        return EpisodeFix(folder=item.folder, dropped=dropped, changes=(f"discarded: {dropped}",))
    return EpisodeFix(
        folder=item.folder,
        begin_ns=draft.begin_ns,
        end_ns=draft.end_ns,
        stamps=draft.stamps,
        receptions=draft.receptions,
        completed=cut,
        changes=tuple(draft.changes),
        left=tuple(draft.left),
    )


def _why_drop(rest: Sequence[Finding], thresholds: Thresholds) -> str:
    for finding in rest:
        if finding.check == "duplicate":
            return f"it is there twice: {finding.got}"
    score = score_of(rest)
    if score < thresholds.drop_below:
        names = ", ".join(dict.fromkeys(finding.check for finding in rest))
        return f"score {score}, below {thresholds.drop_below:g}: {names}"
    return ""


def _trim(summary: Summary, finding: Finding, thresholds: Thresholds, draft: _Draft) -> None:
    """Cut a resting end; a rest in the middle may be meant."""
    begin, end = finding.time_s or 0.0, finding.until_s or 0.0
    near = thresholds.idle_end_s / 2  # joints come a little after the first message
    if begin < near:
        cut_s = end - thresholds.kept_idle_s
        draft.begin_ns = summary.start_ns + round(1e9 * cut_s)
        draft.changes.append(f"trimmed the first {cut_s:.2f} s, in which nothing moved")
    elif summary.duration_s - end < near:
        cut_s = begin + thresholds.kept_idle_s
        draft.end_ns = summary.start_ns + round(1e9 * cut_s)
        gone = summary.duration_s - cut_s
        draft.changes.append(f"trimmed the last {gone:.2f} s, in which nothing moved")
    else:
        draft.left.append(f"rest {finding.when}: it is in the middle, and may be meant")
        return
    draft.fixed.append(finding)


def _restamp_sensor(
    summary: Summary, finding: Finding, thresholds: Thresholds, draft: _Draft
) -> None:
    """Move a camera's stamps to where what it sees fits the joints."""
    topic = finding.topic
    sight_s, offset_s = summary.sights.get(topic), summary.offsets.get(topic, 0.0)
    apart = abs(offset_s) > thresholds.skew_s
    if sight_s is None:
        draft.left.append(f"stamps of {topic}: no picture tells whether they are wrong")
    elif apart and abs(sight_s + offset_s) > AGREES_S:
        draft.left.append(
            f"stamps of {topic}: by reception they are {1e3 * offset_s:.0f} ms too old, by what is"
            f" seen {-1e3 * sight_s:.0f}; the messages may only be slow"
        )
    elif not apart and _joints_are_late(summary, topic, sight_s):
        draft.left.append(f"stamps of {topic}: the joints are late, not they")
    else:
        draft.stamps[topic] = -round(1e9 * sight_s)
        draft.changes.append(f"moved the stamps of {topic} by {-1e3 * sight_s:+.0f} ms")
        draft.fixed.append(finding)


def _joints_are_late(summary: Summary, topic: str, sight_s: float) -> bool:
    """Return whether another camera sees the same lag."""
    others = [value for name, value in summary.sights.items() if name != topic]
    return any(abs(value - sight_s) < AGREES_S for value in others)


def _restamp_by_lag(
    item: Inspection, finding: Finding, median_s: float | None, draft: _Draft
) -> None:
    """Move joints or commands to where the lag is that of the other episodes."""
    lag = item.summary.lag
    if lag is None or median_s is None:
        draft.left.append("lag: no other episodes tell what it should be")
        return
    excess_s = lag.seconds - median_s
    seen = [value for topic, value in item.summary.sights.items() if topic not in draft.stamps]
    late = [value for value in seen if abs(value + excess_s) < AGREES_S]
    same = [value for value in seen if abs(value) < AGREES_S]
    contract = load_contract(item.folder / CONTRACT)
    if late and not same:
        topic = full_name(contract.observation(STATE).topic)
        draft.stamps[topic] = -round(1e9 * excess_s)
        draft.changes.append(f"moved the stamps of {topic} by {-1e3 * excess_s:+.0f} ms")
    elif same and not late:
        topic = full_name(contract.action.command.topic)
        draft.receptions[topic] = round(1e9 * excess_s)
        draft.changes.append(
            f"moved {topic}, which is recorded early, by {1e3 * excess_s:+.0f} ms"
        )
    else:
        draft.left.append(
            f"lag of {1e3 * lag.seconds:.0f} ms: no camera tells whether commands or joints are"
            " at the wrong time"
        )
        return
    draft.fixed += [other for other in item.findings if other.check == "lag"]
    draft.fixed += [
        other for other in item.findings if other.check == "skew" and not draft.receptions
    ]
