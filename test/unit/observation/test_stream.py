from __future__ import annotations

import numpy as np
import pytest

from vla_ros.core.errors import ObservationError
from vla_ros.observation.stream import Stream, StreamSpec

MS = 1_000_000


def make_stream(history: int = 40, max_age_s: float = 0.1, rate_hz: float = 100.0) -> Stream:
    return Stream(
        StreamSpec(
            feature="observation.imu",
            topic="/imu",
            rate_hz=rate_hz,
            max_age_s=max_age_s,
            required=True,
            history=history,
        )
    )


def fill(stream: Stream, count: int, period_ms: int = 10) -> int:
    """Add `count` samples whose value is their index; return the last stamp [ns]."""
    for index in range(count):
        stream.add(index * period_ms * MS, np.array([float(index)]))
    return (count - 1) * period_ms * MS


def test_the_sample_nearest_in_time_is_taken() -> None:
    stream = make_stream()
    fill(stream, 10)
    assert stream.at(34 * MS)[0] == 3
    assert stream.at(36 * MS)[0] == 4
    assert stream.at(95 * MS)[0] == 9


def test_a_sample_too_far_away_is_none() -> None:
    stream = make_stream()
    last = fill(stream, 3)
    with pytest.raises(ObservationError, match=r"nearest message is 0\.101 s away"):
        stream.at(last + 101 * MS)


def test_between_two_samples_the_value_lies_on_the_line() -> None:
    stream = make_stream()
    fill(stream, 10)
    assert stream.between(34 * MS)[0] == pytest.approx(3.4)
    assert stream.between(85 * MS)[0] == pytest.approx(8.5)


def test_at_a_samples_own_time_it_is_taken_as_it_is() -> None:
    stream = make_stream()
    value = np.array([0.1 + 0.2], np.float64)
    stream.add(0, np.zeros(1))
    stream.add(10 * MS, value)
    stream.add(20 * MS, np.ones(1))
    assert stream.between(10 * MS) is value


def test_nothing_is_told_ahead_of_time() -> None:
    stream = make_stream()
    last = fill(stream, 10)
    assert stream.between(last + 7 * MS)[0] == 9
    stream.refuse("broken")
    stream.add(200 * MS, np.array([5.0]))
    assert stream.between(150 * MS)[0] == 5
    with pytest.raises(ObservationError, match=r"nearest message is 0\.101 s away"):
        stream.between(301 * MS)


def test_a_window_ends_at_the_stamp_and_begins_with_the_oldest() -> None:
    stream = make_stream()
    fill(stream, 30)
    window = stream.window(245 * MS, 20)
    np.testing.assert_array_equal(window[:, 0], np.arange(5, 25))


def test_a_window_that_is_not_full_yet_says_how_full_it_is() -> None:
    stream = make_stream()
    fill(stream, 7)
    with pytest.raises(ObservationError, match="/imu: 7 of 20 readings have arrived"):
        stream.window(1000 * MS, 20)


def test_a_window_with_gaps_is_refused() -> None:
    stream = make_stream()
    last = fill(stream, 20, period_ms=30)
    with pytest.raises(ObservationError, match=r"the last 20 readings span 0\.570 s"):
        stream.window(last, 20)


def test_age_counts_from_the_stamp_in_both_directions() -> None:
    stream = make_stream()
    last = fill(stream, 2)
    assert stream.fault(last + 100 * MS) == ""
    assert stream.fault(last + 120 * MS) == "newest message is 0.120 s old, at most 0.1 s counts"
    assert "is -0.120 s old" in stream.fault(last - 120 * MS)


def test_a_bad_message_hides_what_came_before_until_a_good_one_comes() -> None:
    stream = make_stream()
    last = fill(stream, 5)
    stream.refuse("encoding is 'bgr8'")
    assert stream.fault(last) == "encoding is 'bgr8'"
    with pytest.raises(ObservationError, match="encoding is 'bgr8'"):
        stream.at(last)
    stream.add(last + 10 * MS, np.array([9.0]))
    assert stream.fault(last + 10 * MS) == ""


def test_time_that_runs_backwards_starts_the_stream_afresh() -> None:
    stream = make_stream()
    last = fill(stream, 30)
    stream.add(last - 50 * MS, np.array([-1.0]))
    assert stream.newest_ns == last - 50 * MS
    with pytest.raises(ObservationError, match="1 of 20"):
        stream.window(last, 20)


def test_a_repeated_message_counts_once() -> None:
    stream = make_stream()
    for _ in range(25):
        stream.add(5 * MS, np.array([1.0]))
    with pytest.raises(ObservationError, match="1 of 20"):
        stream.window(5 * MS, 20)


def test_silence_from_the_beginning_is_said() -> None:
    assert make_stream().fault(0) == "no message has arrived"
    with pytest.raises(ObservationError, match="no message has arrived"):
        make_stream().at(0)
