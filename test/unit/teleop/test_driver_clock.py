"""Stamps of drivers, by our clock."""

from __future__ import annotations

import pytest

from vla_ros.teleop.driver_clock import WINDOW, DriverClock

NOW_NS, MS = 1_000_000_000_000, 1_000_000


def test_a_message_without_a_stamp_is_of_when_it_comes() -> None:
    assert DriverClock().said_ns(0, NOW_NS) == NOW_NS


def test_a_stamp_is_believed_where_the_clocks_agree() -> None:
    clock = DriverClock()
    assert clock.said_ns(NOW_NS - 3 * MS, NOW_NS) == NOW_NS - 3 * MS


@pytest.mark.parametrize("skew_ms", [-5000, -1, 0, 700])
def test_words_that_were_held_up_are_as_old_as_they_are(skew_ms: int) -> None:
    clock = DriverClock()
    for number in range(10):
        now_ns = NOW_NS + number * 20 * MS
        said_ns = clock.said_ns(now_ns - skew_ms * MS, now_ns)
        assert now_ns - said_ns <= 1 * MS
    said = [NOW_NS + (200 + 20 * number) * MS for number in range(10)]
    late_ns = NOW_NS + 700 * MS  # all at once
    found = [clock.said_ns(each - skew_ms * MS, late_ns) for each in said]
    assert found == pytest.approx(said, abs=1 * MS)


def test_a_clock_that_was_set_back_is_followed_after_a_while() -> None:
    clock = DriverClock()
    for number in range(10):
        clock.said_ns(NOW_NS + number * MS, NOW_NS + number * MS)
    for number in range(10, 11 + WINDOW):
        now_ns = NOW_NS + number * MS
        said_ns = clock.said_ns(now_ns - 2000 * MS, now_ns)
    assert said_ns == now_ns


def test_nothing_is_of_the_future() -> None:
    clock = DriverClock()
    clock.said_ns(NOW_NS - MS, NOW_NS)
    assert clock.said_ns(NOW_NS + 50 * MS, NOW_NS + 20 * MS) == NOW_NS + 20 * MS
