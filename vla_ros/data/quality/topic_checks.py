"""Checks of what came when: files, topics, rates, holes, losses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vla_ros.contract import STATE
from vla_ros.core.types import FloatArray
from vla_ros.data.episode import State
from vla_ros.data.quality.finding import Finding, Severity
from vla_ros.data.quality.signals import Signals, Stream
from vla_ros.data.quality.thresholds import Thresholds

#: A hole counts as lost messages from this many periods on: below, it is jitter.
LOST_PERIODS = 1.75
#: Every message comes so late if the source is slow, in periods; if some are lost, only some do.
SLOW_PERIODS = 1.25


@dataclass(frozen=True, slots=True)
class Promise:
    """What the contract says of a topic.

    Attributes:
        topic: Its name.
        rate_hz: Promised rate [Hz].
        gap_s: Longest hole in it that does not matter [s].
        required: Whether nothing works without it.
    """

    topic: str
    rate_hz: float
    gap_s: float
    required: bool


def promises(signals: Signals, thresholds: Thresholds) -> Iterator[Promise]:
    """Yield what the contract says of every topic."""
    for spec in signals.contract.observations:
        required = spec.required or spec.feature == STATE
        yield Promise(spec.topic, spec.rate_hz, spec.max_age_s, required)
    action = signals.contract.action
    yield Promise(
        action.command.topic, action.control_rate_hz, thresholds.command_gap_s, required=True
    )


def check_whole(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find episodes that were cut off, are too short, or whose messages are fewer than written."""
    episode = signals.episode
    if signals.torn or episode.state is not State.COMPLETE:
        why = episode.cut or ("file ends within a message" if signals.torn else "never finished")
        files = f" ({', '.join(signals.torn)})" if signals.torn else ""
        yield Finding(
            check="cut",
            severity=Severity.WARNING,
            expected="an episode that was recorded to its end",
            got=f"{why}{files}, {signals.duration_s:.1f} s long",
            remedy="Drop it, or keep it if the task was done by then and label it so.",
            time_s=signals.duration_s,
        )
    elif signals.broken:
        file, why = next(iter(signals.broken.items()))
        yield _damaged("", "files that can be read to their end", f"{file}: {why}")
    elif short := {
        topic: (count, signals.received.get(topic, 0))
        for topic, count in episode.topics.items()
        if signals.received.get(topic, 0) < count
    }:
        topic, (expected, got) = next(iter(short.items()))
        more = f", and {len(short) - 1} topics more" if len(short) > 1 else ""
        yield _damaged(
            topic, f"{expected} messages, as were recorded", f"{got} that can be read{more}"
        )
    for warning in episode.warnings:
        yield Finding(
            check="recorder",
            severity=Severity.INFO,
            expected="a recorder that had nothing to say",
            got=f"its warning '{warning}'",
            remedy="See what the other checks say of it.",
        )
    if signals.duration_s < thresholds.least_duration_s:
        yield Finding(
            check="short",
            severity=Severity.ERROR,
            expected=f"an episode of {thresholds.least_duration_s:g} s or more",
            got=f"{signals.duration_s:.2f} s",
            remedy="Drop it.",
        )


def check_format(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find messages that are not as the contract says, or cannot be read."""
    for bad in signals.bad:
        yield Finding(
            check="format",
            severity=Severity.ERROR,
            topic=bad.topic,
            time_s=signals.seconds(bad.log_ns),
            expected=bad.reason.removeprefix("expected ").partition(", got ")[0],
            got=f"{bad.reason.partition(', got ')[2] or bad.reason} ({bad.count} messages)",
            remedy="Mend the driver's settings or the contract; drop the episode.",
        )


def check_silence(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find topics that never came, began late, or stopped early."""
    broken = {bad.topic for bad in signals.bad}
    for promise in promises(signals, thresholds):
        stream = signals.streams.get(promise.topic)
        severity = Severity.ERROR if promise.required else Severity.WARNING
        if stream is None:
            if promise.topic not in broken:
                yield _silent(promise, severity, 0.0, signals.duration_s, "nothing at all")
            continue
        first, last = (float(signals.seconds(stream.log_ns[index])) for index in (0, -1))
        if first > max(promise.gap_s, thresholds.late_s):
            yield _silent(promise, severity, 0.0, first, f"nothing for {first:.2f} s")
        if signals.duration_s - last > max(promise.gap_s, thresholds.early_s):
            rest = signals.duration_s - last
            yield _silent(
                promise, severity, last, signals.duration_s, f"nothing in the last {rest:.2f} s"
            )


def check_rates(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find sources that are slower or faster than the contract promises."""
    for promise in promises(signals, thresholds):
        stream = signals.streams.get(promise.topic)
        steps = _steps(stream)
        if stream is None or len(steps) < 5:
            continue
        rate = len(steps) / (1e-9 * float(stream.log_ns[-1] - stream.log_ns[0]))
        slow = float(np.median(steps)) * promise.rate_hz > SLOW_PERIODS
        if slow and rate < thresholds.slow_rate * promise.rate_hz:
            word, remedy = "slow", "Mend the driver's settings, or give the true rate in the"
        elif rate > thresholds.fast_rate * promise.rate_hz:
            word, remedy = "fast", "See whether two publish on it; else give the true rate in the"
        else:
            continue
        yield Finding(
            check="rate",
            severity=Severity.WARNING,
            topic=promise.topic,
            expected=f"{promise.rate_hz:g} Hz",
            got=f"{rate:.1f} Hz: the source is {word}",
            remedy=f"{remedy} contract.",
        )


def check_gaps(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find holes longer than what the contract takes for fresh."""
    for promise in promises(signals, thresholds):
        stream = signals.streams.get(promise.topic)
        steps = _steps(stream)
        allowed = max(promise.gap_s, 3.0 / promise.rate_hz)
        for index in np.flatnonzero(steps > allowed):
            assert stream is not None
            begin, end = (float(signals.seconds(stream.log_ns[i])) for i in (index, index + 1))
            yield Finding(
                check="gap",
                severity=Severity.ERROR if promise.required else Severity.WARNING,
                topic=promise.topic,
                time_s=begin,
                until_s=end,
                expected=f"a message every {1e3 / promise.rate_hz:.0f} ms, {allowed:g} s at most",
                got=f"none for {steps[index]:.2f} s",
                remedy="Drop the episode, or split it there.",
            )


def check_drops(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find topics of which single messages are lost."""
    for promise in promises(signals, thresholds):
        stream = signals.streams.get(promise.topic)
        steps = _steps(stream, stamped=True)
        if len(steps) < 5 or float(np.median(steps)) * promise.rate_hz > SLOW_PERIODS:
            continue  # a slow source loses nothing
        allowed = max(promise.gap_s, 3.0 / promise.rate_hz)
        holes = steps[(steps * promise.rate_hz > LOST_PERIODS) & (steps <= allowed)]
        lost = int((np.round(holes * promise.rate_hz) - 1).sum())
        share = lost / (lost + len(steps) + 1)
        chance = _chance_of(lost, thresholds.usual_loss * (lost + len(steps) + 1))
        if share > thresholds.lost_share and chance < thresholds.loss_chance:
            yield Finding(
                check="drops",
                severity=Severity.WARNING,
                topic=promise.topic,
                expected=f"at most {thresholds.lost_share:.1%} of the messages lost",
                got=f"{share:.1%} ({lost} messages)",
                remedy="Record on a less loaded machine; for large frames see"
                " docs/how-to/transport.md.",
            )


def _steps(stream: Stream | None, *, stamped: bool = False) -> FloatArray:
    """Return the times between messages [s]: of reception, or of what they are from."""
    if stream is None:
        return np.zeros(0)
    times = stream.times_ns if stamped and (np.diff(stream.times_ns) > 0).all() else stream.log_ns
    steps: FloatArray = 1e-9 * np.diff(times).astype(np.float64)
    return steps


def _chance_of(count: int, mean: float) -> float:
    """Return how likely `count` events or more are where `mean` are to be expected (Poisson)."""
    fewer = sum(math.exp(n * math.log(mean) - mean - math.lgamma(n + 1)) for n in range(count))
    return max(0.0, 1.0 - fewer)


def _damaged(topic: str, expected: str, got: str) -> Finding:
    return Finding(
        check="unreadable",
        severity=Severity.ERROR,
        topic=topic,
        expected=expected,
        got=got,
        remedy="The file was damaged after recording: copy it again, or drop the episode.",
    )


def _silent(promise: Promise, severity: Severity, begin: float, end: float, got: str) -> Finding:
    return Finding(
        check="silent",
        severity=severity,
        topic=promise.topic,
        time_s=begin,
        until_s=end,
        expected=f"{promise.rate_hz:g} Hz from beginning to end",
        got=got,
        remedy="See that the driver runs; drop the episode, or convert it without this topic.",
    )
