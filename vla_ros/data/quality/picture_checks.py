"""Checks of what cameras saw."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vla_ros.contract import FeatureKind
from vla_ros.data.quality.finding import Finding, Severity
from vla_ros.data.quality.motion import moving_between
from vla_ros.data.quality.signals import PictureStream, Signals
from vla_ros.data.quality.spans import runs
from vla_ros.data.quality.thresholds import Thresholds


def check_frozen(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find cameras, depth too, that show the same picture while the robot moves."""
    for topic, pictures in signals.pictures.items():
        same = np.concatenate(([False], np.diff(pictures.digests.astype(np.int64)) == 0))
        times = pictures.stream.log_ns
        for first, last in runs(same):
            begin, end = int(times[first - 1]), int(times[last])
            if 1e-9 * (end - begin) < thresholds.frozen_s:
                continue
            if not moving_between(signals, begin, end, thresholds):
                continue
            yield Finding(
                check="frozen",
                severity=Severity.ERROR,
                topic=topic,
                time_s=float(signals.seconds(begin)),
                until_s=float(signals.seconds(end)),
                expected="pictures that change while the robot moves",
                got=f"the same {last - first + 2} times",
                remedy="The camera or its driver hung; drop the episode.",
            )


def check_exposure(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find pictures that are too dark, burnt out, or show nothing."""
    for topic, pictures in signals.pictures.items():
        if _kind(signals, topic) is not FeatureKind.IMAGE:
            continue
        dark = pictures.dark > thresholds.dark_share
        bright = pictures.bright > thresholds.bright_share
        blank = (pictures.contrast < thresholds.least_contrast) & ~dark & ~bright
        yield from _stretch(
            signals, pictures, dark, thresholds, pictures.dark, "underexposed",
            f"at most {thresholds.dark_share:.0%} of the pixels black",
            "Give it more light, or a longer exposure.",
        )  # fmt: skip
        yield from _stretch(
            signals, pictures, bright, thresholds, pictures.bright, "overexposed",
            f"at most {thresholds.bright_share:.0%} of the pixels burnt out",
            "Shade the camera, or shorten its exposure.",
        )  # fmt: skip
        yield from _stretch(
            signals, pictures, blank, thresholds, pictures.contrast, "blank",
            f"grey levels that vary by {thresholds.least_contrast:g} or more",
            "Something is in front of the camera, or it is out of focus.",
        )  # fmt: skip


def check_holes(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find depth that is mostly holes."""
    for topic, pictures in signals.pictures.items():
        if _kind(signals, topic) is FeatureKind.DEPTH:
            yield from _stretch(
                signals, pictures, pictures.dark > thresholds.hole_share, thresholds,
                pictures.dark, "holes", f"at most {thresholds.hole_share:.0%} of the depth holes",
                "See the sensor's distance, pattern and sunlight; convert without this depth.",
            )  # fmt: skip


def _stretch(
    signals: Signals,
    pictures: PictureStream,
    holds: NDArray[np.bool_],
    thresholds: Thresholds,
    values: NDArray[np.float64],
    check: str,
    expected: str,
    remedy: str,
) -> Iterator[Finding]:
    """Find the longest stretch in which something holds for too long."""
    times = pictures.stream.log_ns
    found = [(int(times[last] - times[first]), first, last) for first, last in runs(holds)]
    longest, first, last = max(found, default=(0, 0, 0))
    if 1e-9 * longest < thresholds.exposure_s:
        return
    value = float(np.median(values[first : last + 1]))
    share = f"{value:.1f}" if check == "blank" else f"{value:.0%}"
    yield Finding(
        check=check,
        severity=Severity.WARNING,
        topic=pictures.stream.topic,
        time_s=float(signals.seconds(times[first])),
        until_s=float(signals.seconds(times[last])),
        expected=expected,
        got=f"{share} in {int(holds.sum())} of {len(holds)} pictures",
        remedy=remedy,
    )


def _kind(signals: Signals, topic: str) -> FeatureKind | None:
    return next((spec.kind for spec in signals.contract.observations if spec.topic == topic), None)
