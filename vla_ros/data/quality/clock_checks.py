"""Checks of what messages say about when they are from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vla_ros.core.types import FloatArray
from vla_ros.data.quality.finding import Finding, Severity
from vla_ros.data.quality.motion import Lag, measure_sight_lag
from vla_ros.data.quality.signals import Signals
from vla_ros.data.quality.thresholds import Thresholds

#: Fewer messages than this say nothing about a clock.
FEWEST = 10


def latencies(signals: Signals) -> dict[str, FloatArray]:
    """Return the time from stamp to reception [s] per sensor topic, each (N,)."""
    found = {}
    for spec in signals.contract.observations:
        stream = signals.streams.get(spec.topic)
        if stream is not None and stream.stamp_ns is not None and len(stream.log_ns) >= FEWEST:
            found[spec.topic] = 1e-9 * (stream.log_ns - stream.stamp_ns).astype(np.float64)
    return found


def offsets(signals: Signals) -> dict[str, float]:
    """Return by how much each sensor's stamps are older than those of the others, in median [s].

    The others: the median over sensors, of which one or two may be wrong and not most.
    """
    medians = {topic: float(np.median(values)) for topic, values in latencies(signals).items()}
    middle = float(np.median(list(medians.values()))) if medians else 0.0
    return {topic: value - middle for topic, value in medians.items()}


def check_clock(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find stamps from another clock than that of the recording."""
    for topic, values in latencies(signals).items():
        median = float(np.median(values))
        if abs(median) > thresholds.clock_s:
            yield Finding(
                check="clock",
                severity=Severity.ERROR,
                topic=topic,
                expected=f"stamps within {thresholds.clock_s:g} s of reception",
                got=f"stamps {abs(median):.3f} s {'before' if median > 0 else 'after'} it",
                remedy="Synchronize the clocks (chrony, PTP), or let the driver stamp by one.",
            )


def check_skew(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find sensors whose stamps lie apart from those of the others, or drift."""
    for topic, offset in offsets(signals).items():
        if thresholds.skew_s < abs(offset) <= thresholds.clock_s:
            yield Finding(
                check="skew",
                severity=Severity.WARNING,
                topic=topic,
                expected=f"stamps within {1e3 * thresholds.skew_s:.0f} ms of the other sensors'",
                got=f"stamps {1e3 * abs(offset):.0f} ms too {'old' if offset > 0 else 'new'}",
                remedy="Mend the driver's stamps; --fix re-stamps by what is measured.",
            )
    for topic, values in latencies(signals).items():
        quarter = max(FEWEST // 2, len(values) // 4)
        drift = float(np.median(values[-quarter:]) - np.median(values[:quarter]))
        if abs(drift) > thresholds.drift_s:
            yield Finding(
                check="skew",
                severity=Severity.WARNING,
                topic=topic,
                expected="a time from stamp to reception that stays the same",
                got=f"one that changes by {1e3 * drift:+.0f} ms within the episode",
                remedy="The sensor's clock drifts or steps: synchronize it (chrony, PTP).",
            )


def check_sight(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find cameras that see the arm move earlier or later than the joints do.

    Stamps that are right by reception may be wrong by this: of a driver that stamps what it had in
    its buffer. One that is found by its stamps already is not found again.
    """
    known = {
        topic for topic, offset in offsets(signals).items() if abs(offset) > thresholds.skew_s
    }
    for topic in signals.pictures:
        lag = sight_lag(signals, topic, thresholds)
        if lag is None or topic in known or abs(lag.seconds) <= thresholds.sight_s:
            continue
        if lag.correlation < thresholds.sight_correlation:
            continue
        yield Finding(
            check="skew",
            severity=Severity.WARNING,
            topic=topic,
            expected="pictures that change when the joints move,"
            f" within {1e3 * thresholds.sight_s:.0f} ms",
            got=f"{1e3 * abs(lag.seconds):.0f} ms {'after' if lag.seconds > 0 else 'before'} them"
            f" (correlation {lag.correlation:.2f})",
            remedy="The camera's driver stamps what it buffered, or the joints come late.",
        )


def sight_lag(signals: Signals, topic: str, thresholds: Thresholds) -> Lag | None:
    """Return how much later a camera sees the arm move than the joints do; None if it is vague."""
    lag = measure_sight_lag(signals, topic)
    if lag is None or lag.correlation < thresholds.sight_confirms:
        return None
    near = abs(lag.seconds) <= thresholds.sight_s
    return lag if near or lag.correlation - lag.at_zero >= thresholds.sight_gain else None


def check_order(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find stamps, and receptions, that go back."""
    for topic, stream in signals.streams.items():
        for kind, times in (("stamp", stream.stamp_ns), ("reception", stream.log_ns)):
            if times is None:
                continue
            steps = 1e-9 * np.diff(times).astype(np.float64)
            back = np.flatnonzero(steps < -thresholds.step_back_s)
            if len(back):
                yield Finding(
                    check="order",
                    severity=Severity.ERROR,
                    topic=topic,
                    time_s=float(signals.seconds(stream.log_ns[back[0] + 1])),
                    expected=f"each {kind} after the one before",
                    got=f"{len(back)} that go back, the first by {-1e3 * steps[back[0]]:.0f} ms",
                    remedy="A clock was set, or two drivers publish on it; drop the episode.",
                )
                break
