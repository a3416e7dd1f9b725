"""Each check finds what it is for, where it is, and nothing in a good episode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from test.unit.data.quality.signal_making import (
    COMMANDS,
    DEPTH,
    FRONT,
    IMU,
    JOINTS,
    LAG_S,
    START_NS,
    WRIST,
    make_pictures,
    make_signals,
    pick,
    sway,
)
from vla_ros.data.episode import Episode, State
from vla_ros.data.quality.finding import Finding, Severity
from vla_ros.data.quality.inspection import EPISODE_CHECKS
from vla_ros.data.quality.motion import measure_lag, measure_sight_lag
from vla_ros.data.quality.signals import BadMessage, Signals
from vla_ros.data.quality.thresholds import Thresholds

GOOD = make_signals()


def find(signals: Signals, **thresholds: Any) -> list[Finding]:
    limits = Thresholds(**thresholds)
    return [item for check in EPISODE_CHECKS for item in check(signals, limits)]


def only(signals: Signals, **thresholds: Any) -> Finding:
    found = find(signals, **thresholds)
    assert len(found) == 1, [item.text for item in found]
    return found[0]


def spoil_pictures(topic: str, **values: Any) -> Signals:
    return make_signals(pictures={topic: replace(GOOD.pictures[topic], **values)})


def test_a_good_episode_has_no_findings() -> None:
    assert find(GOOD) == []


def test_a_topic_that_never_came_is_an_error_if_the_contract_requires_it() -> None:
    optional, required = only(make_signals({IMU: None})), find(make_signals({JOINTS: None}))[0]
    assert (optional.check, optional.severity) == ("silent", Severity.WARNING)
    assert optional.text == (
        "/imu 0.00–4.00 s: expected 100 Hz from beginning to end, got nothing at all"
    )
    assert (required.topic, required.severity) == (JOINTS, Severity.ERROR)


def test_a_topic_that_stops_is_silent_from_then_on() -> None:
    imu = GOOD.streams[IMU]
    item = only(make_signals({IMU: pick(imu, slice(0, 150))}))
    assert (item.check, item.topic) == ("silent", IMU)
    assert item.time_s == pytest.approx(1.5, abs=0.02)
    assert item.until_s == pytest.approx(4.0)


def test_a_topic_may_begin_as_late_as_discovery_takes() -> None:
    imu = GOOD.streams[IMU]
    assert find(make_signals({IMU: pick(imu, slice(40, None))})) == []
    assert only(make_signals({IMU: pick(imu, slice(60, None))})).got == "nothing for 0.60 s"


def test_half_the_rate_is_a_slow_source_and_no_loss() -> None:
    front = pick(GOOD.streams[FRONT], slice(None, None, 2))
    item = only(make_signals({FRONT: front}, {FRONT: make_pictures(front)}))
    assert (item.check, item.topic, item.got) == ("rate", FRONT, "15.0 Hz: the source is slow")


def test_two_publishers_on_a_topic_make_it_fast() -> None:
    imu = GOOD.streams[IMU]
    item = only(make_signals({IMU: pick(imu, np.repeat(np.arange(len(imu.log_ns)), 2))}))
    assert (item.check, item.topic) == ("rate", IMU)
    assert "two publish" in item.remedy


def test_a_hole_is_a_gap_and_says_when() -> None:
    joints = GOOD.streams[JOINTS]
    kept = np.ones(len(joints.log_ns), bool)
    kept[100:130] = False
    item = only(make_signals({JOINTS: pick(joints, kept)}))
    assert (item.check, item.severity) == ("gap", Severity.ERROR)
    assert [item.time_s, item.until_s] == pytest.approx([0.995, 1.305])


def test_lost_messages_count_and_jitter_does_not() -> None:
    rng = np.random.default_rng(0)
    commands = GOOD.streams[COMMANDS]
    jitter = rng.uniform(-3e6, 3e6, len(commands.log_ns)).astype(np.int64)
    jittery = replace(commands, log_ns=commands.log_ns + jitter)
    assert find(make_signals({COMMANDS: jittery})) == []
    item = only(make_signals({COMMANDS: pick(jittery, rng.random(len(jitter)) > 0.08)}))
    assert (item.check, item.topic) == ("drops", COMMANDS)


def test_one_lost_frame_is_no_finding() -> None:
    front = pick(GOOD.streams[FRONT], np.arange(120) != 50)
    assert find(make_signals({FRONT: front}, {FRONT: make_pictures(front)})) == []


def test_stamps_apart_from_the_other_sensors_are_skewed() -> None:
    wrist = GOOD.streams[WRIST]
    assert wrist.stamp_ns is not None
    item = only(make_signals({WRIST: replace(wrist, stamp_ns=wrist.stamp_ns - 80_000_000)}))
    assert (item.check, item.topic, item.got) == ("skew", WRIST, "stamps 80 ms too old")


def test_a_clock_that_drifts_is_skewed() -> None:
    imu = GOOD.streams[IMU]
    assert imu.stamp_ns is not None
    drift = np.linspace(0, 8e7, len(imu.log_ns)).astype(np.int64)
    item = only(make_signals({IMU: replace(imu, stamp_ns=imu.stamp_ns - drift)}))
    assert (item.check, item.topic) == ("skew", IMU)
    assert "+60 ms within the episode" in item.got


def test_stamps_of_another_clock_are_no_skew() -> None:
    depth = GOOD.streams[DEPTH]
    assert depth.stamp_ns is not None
    item = only(make_signals({DEPTH: replace(depth, stamp_ns=depth.stamp_ns - 37_000_000_000)}))
    assert (item.check, item.got) == ("clock", "stamps 37.005 s before it")


def test_stamps_that_go_back_are_out_of_order() -> None:
    imu = GOOD.streams[IMU]
    assert imu.stamp_ns is not None
    stamps = imu.stamp_ns.copy()
    stamps[200:] -= 25_000_000
    item = only(make_signals({IMU: replace(imu, stamp_ns=stamps)}))
    assert (item.check, item.got) == ("order", "1 that go back, the first by 15 ms")
    assert item.time_s == pytest.approx(2.005)


def test_equal_pictures_are_frozen_only_while_the_robot_moves() -> None:
    digests = GOOD.pictures[FRONT].digests.copy()
    digests[30:60] = 7
    item = only(spoil_pictures(FRONT, digests=digests))
    assert (item.check, item.got) == ("frozen", "the same 30 times")
    assert item.time_s == pytest.approx(1.005, abs=1e-3)
    joints, commands = GOOD.streams[JOINTS], GOOD.streams[COMMANDS]
    still = make_signals(
        {
            JOINTS: replace(joints, values=np.zeros((400, 6))),
            COMMANDS: replace(commands, values=np.zeros((400, 6))),
        },
        {FRONT: replace(GOOD.pictures[FRONT], digests=digests)},
    )
    assert {found.check for found in find(still)} == {"idle"}


@pytest.mark.parametrize(
    ("check", "topic", "value"),
    [
        ("underexposed", FRONT, {"dark": 0.95}),
        ("overexposed", WRIST, {"bright": 0.6}),
        ("blank", FRONT, {"contrast": 1.5}),
        ("holes", DEPTH, {"dark": 0.7}),
    ],
)
def test_bad_pictures_are_found_where_they_are(
    check: str, topic: str, value: dict[str, float]
) -> None:
    ((name, bad),) = value.items()
    values = getattr(GOOD.pictures[topic], name).copy()
    values[60:80] = bad
    item = only(spoil_pictures(topic, **{name: values}))
    assert (item.check, item.topic) == (check, topic)
    assert [item.time_s, item.until_s] == pytest.approx([2.005, 2.638], abs=1e-3)
    values[65:] = getattr(GOOD.pictures[topic], name)[0]
    assert find(spoil_pictures(topic, **{name: values})) == []  # as long as exposure settles


def test_commands_beyond_a_position_limit_name_the_joint() -> None:
    commands = GOOD.streams[COMMANDS]
    far = sway(np.arange(0.0, 4.0, 0.01))
    far[:, 5] -= 0.3
    found = find(make_signals({COMMANDS: replace(commands, values=far)}))
    assert found[0].check == "limits"
    assert found[0].expected == "gripper from -0.174533 to 1.74533"


def test_a_step_faster_than_the_limit_is_found_and_a_burst_is_not() -> None:
    commands = GOOD.streams[COMMANDS]
    assert commands.values is not None
    jump = commands.values.copy()
    jump[150, 0] += 0.2
    item = only(make_signals({COMMANDS: replace(commands, values=jump)}))
    assert item.check == "limits"
    assert item.time_s == pytest.approx(1.5, abs=0.011)
    assert "2 steps too fast in all" in item.got
    late = commands.log_ns.copy()
    late[200:203] = late[203]
    assert find(make_signals({COMMANDS: replace(commands, log_ns=late)})) == []


def test_lag_is_measured_to_a_few_milliseconds() -> None:
    lag = measure_lag(GOOD)
    assert lag is not None
    assert lag.seconds == pytest.approx(LAG_S, abs=0.003)


@pytest.mark.parametrize(("shift_s", "words"), [(0.25, "300 ms"), (-0.15, "before they were")])
def test_joints_that_follow_late_or_too_early_lag(shift_s: float, words: str) -> None:
    times_s = np.arange(0.0, 4.0, 0.01) - LAG_S - shift_s
    item = only(make_signals({JOINTS: replace(GOOD.streams[JOINTS], values=sway(times_s))}))
    assert item.check == "lag"
    assert words in item.got


def test_joints_that_do_not_move_when_told_are_an_error() -> None:
    joints = replace(GOOD.streams[JOINTS], values=np.zeros((400, 6)))
    found = {item.check: item for item in find(make_signals({JOINTS: joints}))}
    assert found["lag"].severity is Severity.ERROR
    assert "0.000 rad of motion where" in found["lag"].got


def test_a_camera_that_sees_the_motion_late_is_skewed_though_its_stamps_fit() -> None:
    times_s = np.arange(0.0, 4.0, 1 / 30)
    middle = times_s - 1 / 60 - LAG_S - 0.15
    speed = np.abs(sway(middle + 0.01) - sway(middle - 0.01)).sum(axis=1)
    signals = spoil_pictures(WRIST, motion=speed)
    lag = measure_sight_lag(signals, WRIST)
    assert lag is not None
    assert lag.seconds == pytest.approx(0.15, abs=0.01)
    item = only(signals)
    assert (item.check, item.topic) == ("skew", WRIST)


def test_rest_at_the_end_is_idle_and_less_so_in_the_middle() -> None:
    times_s = np.arange(0.0, 4.0, 0.01)

    def resting(begin_s: float, until_s: float) -> Signals:
        inner = np.where(
            times_s < begin_s, times_s, np.maximum(begin_s, times_s - until_s + begin_s)
        )
        streams = GOOD.streams
        return make_signals(
            {
                JOINTS: replace(streams[JOINTS], values=sway(inner)),
                COMMANDS: replace(streams[COMMANDS], values=sway(inner)),
            }
        )

    item = only(resting(2.0, 9.0))
    assert (item.check, item.remedy) == ("idle", "--fix trims it.")
    assert item.time_s == pytest.approx(2.1, abs=0.1)
    assert find(resting(1.0, 3.0)) == []
    assert only(resting(1.0, 3.0), idle_s=1.0).check == "idle"


def test_an_unreadable_message_is_named_with_its_time() -> None:
    reason = "expected 128x128 px, got 64x64 px"
    bad = BadMessage(topic=FRONT, log_ns=START_NS + 10**9, count=5, reason=reason)
    item = only(make_signals(bad=(bad,)))
    assert item.text == f"{FRONT} at 1.00 s: expected 128x128 px, got 64x64 px (5 messages)"


def test_an_episode_that_was_cut_says_why() -> None:
    episode = Episode(
        number=0, state=State.CUT, cut="the disk was full", instruction="lift the red cube"
    )
    assert only(make_signals(episode=episode)).got == "the disk was full, 4.0 s long"


def test_an_instruction_that_was_not_the_one_given_is_found() -> None:
    item = only(make_signals(instructions=((START_NS, "lift the blue cube"),)))
    assert (item.check, item.got) == ("instruction", "'lift the blue cube'")
    nothing = Episode(number=0, state=State.COMPLETE)
    assert only(make_signals(episode=nothing)).got == "none; said was 'lift the red cube'"
