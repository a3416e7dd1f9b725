from __future__ import annotations

import pytest

from vla_ros.observation.rates import RateMonitor

S = 1_000_000_000


def run(monitor: RateMonitor, begin_s: float, end_s: float, rate_hz: float) -> None:
    for index in range(round((end_s - begin_s) * rate_hz)):
        monitor.count(round((begin_s + index / rate_hz) * S))


def test_a_stream_at_its_rate_is_not_short() -> None:
    monitor = RateMonitor(30.0)
    monitor.start(0)
    run(monitor, 0.0, 6.0, 30.0)
    report = monitor.report(6 * S)
    assert not report.short
    assert report.rate_hz == pytest.approx(30.0, rel=0.02)


def test_a_stream_that_loses_a_third_is_short_and_counted() -> None:
    monitor = RateMonitor(30.0)
    monitor.start(0)
    run(monitor, 0.0, 6.0, 20.0)
    report = monitor.report(6 * S)
    assert report.short
    assert (report.received, report.expected) == (60, 90.0)


def test_the_rate_is_judged_from_the_first_message_on() -> None:
    monitor = RateMonitor(30.0)
    monitor.start(0)
    run(monitor, 10.0, 12.0, 30.0)
    assert not monitor.report(12 * S).short


def test_nothing_counts_as_short_right_after_the_start() -> None:
    monitor = RateMonitor(30.0)
    monitor.start(0)
    assert not monitor.report(S).short
    assert monitor.report(2 * S).short


def test_an_old_window_is_forgotten() -> None:
    monitor = RateMonitor(30.0)
    monitor.start(0)
    run(monitor, 0.0, 6.0, 30.0)
    report = monitor.report(12 * S)
    assert (report.received, report.short) == (0, True)
