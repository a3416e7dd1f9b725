"""Checks that compare the episodes of a recording with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vla_ros.core.types import FloatArray
from vla_ros.data.quality.finding import Finding, Severity
from vla_ros.data.quality.language import Language
from vla_ros.data.quality.summary import Summary
from vla_ros.data.quality.text_checks import words_of
from vla_ros.data.quality.thresholds import Thresholds

#: Of normal values, the standard deviation is so many times the median absolute deviation.
MAD_SCALE = 1.4826


def check_contracts(episodes: Sequence[Summary], thresholds: Thresholds) -> Iterator[Finding]:
    """Find episodes that were recorded with another contract than most."""
    counts = Counter(item.contract_sha256 for item in episodes)
    if len(counts) < 2:
        return
    common, _ = counts.most_common(1)[0]
    name = next(item.contract_name for item in episodes if item.contract_sha256 == common)
    for item in episodes:
        if item.contract_sha256 != common:
            yield Finding(
                check="contract",
                severity=Severity.ERROR,
                episode=item.name,
                expected=f"the contract of the others, {name} ({common[:8]})",
                got=f"{item.contract_name} ({item.contract_sha256[:8]})",
                remedy="Keep it in a recording of its own: a policy is trained for one contract.",
            )


def check_duplicates(episodes: Sequence[Summary], thresholds: Thresholds) -> Iterator[Finding]:
    """Find episodes that are there twice, whatever their stamps say."""
    known: dict[int, list[Summary]] = {}
    for item in episodes:
        if item.path is None:
            continue
        bucket = round(item.duration_s / _BUCKET_S)
        near = [other for key in (bucket - 1, bucket, bucket + 1) for other in known.get(key, ())]
        twin = next((other for other in near if _same(item, other, thresholds)), None)
        if twin is None:
            known.setdefault(bucket, []).append(item)
            continue
        yield Finding(
            check="duplicate",
            severity=Severity.WARNING,
            episode=item.name,
            expected="an episode of its own",
            got=f"that of {twin.name}: the same motion and pictures",
            remedy="--fix removes it.",
        )


#: Episodes are compared with those that are as long, give or take this [s].
_BUCKET_S = 0.5


def _same(one: Summary, other: Summary, thresholds: Thresholds) -> bool:
    if one.path is None or other.path is None or one.path.shape != other.path.shape:
        return False
    if float(np.sqrt(((one.path - other.path) ** 2).mean())) > thresholds.duplicate_rad:
        return False
    return all(
        float(np.abs(picture - other.first_pictures[topic]).mean()) < thresholds.duplicate_level
        for topic, picture in one.first_pictures.items()
        if topic in other.first_pictures
    )


def check_lags(episodes: Sequence[Summary], thresholds: Thresholds) -> Iterator[Finding]:
    """Find episodes whose lag differs from the others'."""
    good = [
        item
        for item in episodes
        if item.lag is not None and item.lag.correlation >= thresholds.least_correlation
    ]
    if len(good) < 3:
        return
    median = float(np.median([item.lag.seconds for item in good if item.lag is not None]))
    for item in good:
        assert item.lag is not None
        if abs(item.lag.seconds - median) > thresholds.lag_differs_s:
            yield Finding(
                check="lag",
                severity=Severity.WARNING,
                episode=item.name,
                expected=f"joints that follow after {1e3 * median:.0f} ms, as in the others",
                got=f"{1e3 * item.lag.seconds:.0f} ms",
                remedy="Something was stamped late; --fix re-stamps by what is measured.",
            )


def check_outliers(episodes: Sequence[Summary], thresholds: Thresholds) -> Iterator[Finding]:
    """Find episodes that are much longer, go much farther, or start elsewhere than the others."""
    if len(episodes) < thresholds.balance_episodes:
        return
    measured = {
        "length": ([item.duration_s for item in episodes], "s"),
        "path of the joints": ([item.path_rad for item in episodes], "rad"),
    }
    for what, (values, unit) in measured.items():
        plain, median = np.array(values), float(np.median(values))
        logs = np.log(np.maximum(plain, 1e-3))
        ratio = np.abs(logs - np.log(max(median, 1e-3))) > np.log(thresholds.outlier_ratio)
        beyond = ratio & (_beyond(plain, thresholds) | _beyond(logs, thresholds))
        for index in map(int, np.flatnonzero(beyond)):
            yield _outlier(
                episodes[index], f"a {what} about {median:.1f} {unit}",
                f"{values[index]:.1f} {unit}",
            )  # fmt: skip
    yield from _starts(episodes, thresholds)


def _starts(episodes: Sequence[Summary], thresholds: Thresholds) -> Iterator[Finding]:
    placed = [item for item in episodes if item.path is not None]
    width = Counter(len(item.joints) for item in placed).most_common(1)
    placed = [item for item in placed if width and len(item.joints) == width[0][0]]
    if len(placed) < thresholds.balance_episodes:
        return
    starts = np.stack([item.path[0] for item in placed if item.path is not None])
    middle = np.median(starts, axis=0)
    away = np.sqrt(((starts - middle) ** 2).mean(axis=1))
    for index in map(
        int, np.flatnonzero(_beyond(away, thresholds) & (away > thresholds.start_rad))
    ):
        joint = int(np.argmax(np.abs(starts[index] - middle)))
        yield _outlier(
            placed[index],
            f"a start with {placed[0].joints[joint]} about {middle[joint]:.2f}",
            f"{starts[index, joint]:.2f}, and {away[index]:.2f} rad away over all joints",
        )


def _beyond(
    values: FloatArray, thresholds: Thresholds
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    away = np.abs(values - np.median(values))
    return away > thresholds.outlier * MAD_SCALE * max(float(np.median(away)), 1e-9)


def _outlier(item: Summary, expected: str, got: str) -> Finding:
    return Finding(
        check="outlier",
        severity=Severity.WARNING,
        episode=item.name,
        expected=f"{expected}, as the others have",
        got=got,
        remedy="Look at it: keep it if it is good, drop it if something went wrong.",
    )


@dataclass(frozen=True, slots=True)
class BalanceCheck:
    """Finds recordings that mostly say one thing, are mostly about one thing, or mostly fail.

    Attributes:
        language: Knows what instructions are about.
    """

    language: Language

    def __call__(self, episodes: Sequence[Summary], thresholds: Thresholds) -> Iterator[Finding]:
        """Yield what there is too much of."""
        if len(episodes) < thresholds.balance_episodes:
            return
        texts = Counter(" ".join(words_of(item.instruction)) for item in episodes)
        kinds = {"instruction": texts} | self.language.count(episodes)
        for kind, counts in kinds.items():
            name, count = counts.most_common(1)[0] if counts else ("", 0)
            if len(counts) > 1 and count > thresholds.largest_share * len(episodes):
                rest = len(counts) - 1
                yield _unbalanced(
                    f"no {kind} in more than {thresholds.largest_share:.0%} of the episodes",
                    f"'{name}' in {count} of {len(episodes)}; {rest} others in the rest",
                    "Record more of the others, or weight them in training.",
                )
        judged = Counter(item.outcome for item in episodes if item.outcome)
        failed = judged["failure"]
        if failed > thresholds.failure_share * max(1, judged.total()):
            yield _unbalanced(
                f"at most {thresholds.failure_share:.0%} of the judged episodes failures",
                f"{failed} of {judged.total()}",
                "Train on successes only, or record more of them.",
            )


def _unbalanced(expected: str, got: str, remedy: str) -> Finding:
    return Finding(
        check="balance",
        severity=Severity.WARNING,
        expected=expected,
        got=got,
        remedy=remedy,
    )
