"""How the chunks of a slow policy become motion, and what is known of its delay."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vla_ros.core.errors import UserError
from vla_ros.core.types import ActionChunk, ChunkPrefix, Observation
from vla_ros.engine.scheduling import SCHEDULERS, Schedule, Scheduler, ScheduleSettings
from vla_ros.engine.scheduling.asynchronous import Asynchronous
from vla_ros.engine.scheduling.deadline import Deadline
from vla_ros.engine.scheduling.delay import DelayEstimator
from vla_ros.engine.scheduling.ensemble import TemporalEnsemble
from vla_ros.engine.scheduling.horizon import ExecutionHorizon, disagreement
from vla_ros.engine.scheduling.real_time import RealTime, soft_mask
from vla_ros.engine.scheduling.synchronous import Synchronous
from vla_ros.testing.scheduling_conformance import (
    BEGIN_NS,
    HORIZON,
    STEP_NS,
    SchedulerConformance,
    make_chunk,
)


def delay_of(seconds: float) -> DelayEstimator:
    return DelayEstimator(initial_s=seconds)


class TestSynchronous(SchedulerConformance):
    replaces = False

    def make_scheduler(self) -> Scheduler:
        return Synchronous()


class TestAsynchronous(SchedulerConformance):
    def make_scheduler(self) -> Scheduler:
        return Asynchronous()


class TestTemporalEnsemble(SchedulerConformance):
    def make_scheduler(self) -> Scheduler:
        return TemporalEnsemble()


class TestRealTime(SchedulerConformance):
    def make_scheduler(self) -> Scheduler:
        return RealTime(delay_of(0.1))


class TestRealTimeTrained(SchedulerConformance):
    def make_scheduler(self) -> Scheduler:
        return RealTime(delay_of(0.1), trained=True)


class ContinuingPolicy:
    """A policy that goes on from what it is given, and remembers that it was."""

    name, bundle_sha256 = "continuing", "0" * 64

    def __init__(self, *parts: str) -> None:
        self.prefix_parts = parts
        self.prefixes: list[ChunkPrefix | None] = []

    def start(self, instruction: str) -> None:
        del instruction

    def infer(self, observation: Observation) -> ActionChunk:
        self.prefixes.append(None)
        return make_chunk(observation.stamp_ns)

    def go_on(self, observation: Observation, prefix: ChunkPrefix) -> ActionChunk:
        self.prefixes.append(prefix)
        return make_chunk(observation.stamp_ns)


def observation_at(stamp_ns: int) -> Observation:
    return Observation(stamp_ns=stamp_ns, state=np.zeros(2, np.float32))


def test_a_synchronous_chunk_begins_when_it_comes() -> None:
    chunk = make_chunk(BEGIN_NS)
    taken = Synchronous(rows=4).take(chunk, BEGIN_NS + 4 * STEP_NS)
    assert taken.stamp_ns == BEGIN_NS + 4 * STEP_NS
    np.testing.assert_array_equal(taken.positions, chunk.positions[:4])


def test_the_ensemble_weighs_the_oldest_prediction_most() -> None:
    ensemble = TemporalEnsemble(decay=math.log(3.0))
    ensemble.take(make_chunk(BEGIN_NS, offset=1.0), BEGIN_NS)
    taken = ensemble.take(make_chunk(BEGIN_NS + 2 * STEP_NS), BEGIN_NS + 2 * STEP_NS)
    apart = taken.positions - make_chunk(BEGIN_NS + 2 * STEP_NS).positions
    # weights 1 and 1/3 where both say something; behind the old chunk's end the new one is alone
    np.testing.assert_allclose(apart[: HORIZON - 2], 0.75, atol=1e-9)
    np.testing.assert_allclose(apart[HORIZON - 2 :], 0.0, atol=1e-9)


def test_the_ensemble_interpolates_chunks_that_are_half_a_row_apart() -> None:
    ensemble = TemporalEnsemble()
    ensemble.take(make_chunk(BEGIN_NS), BEGIN_NS)
    later_ns = BEGIN_NS + STEP_NS // 2
    taken = ensemble.take(make_chunk(later_ns), later_ns)
    np.testing.assert_allclose(taken.positions, make_chunk(later_ns).positions, atol=1e-9)


def test_the_soft_mask_is_that_of_the_paper() -> None:
    # equation 5 of arXiv:2506.07339 with H = 8, s = 2 (so 6 rows overlap) and d = 2
    mask = soft_mask(8, overlap=6, frozen=2)
    steps = [(6 - i) / (6 - 2 + 1) for i in range(2, 6)]
    soft = [c * (math.exp(c) - 1) / (math.e - 1) for c in steps]
    np.testing.assert_allclose(mask, [1, 1, *soft, 0, 0], atol=1e-12)
    assert (np.diff(mask) <= 0).all()


def test_real_time_freezes_what_the_delay_and_the_gates_fade_will_execute() -> None:
    for trained in (False, True):
        scheduler = RealTime(delay_of(0.14), trained=trained, blend_s=0.05)
        scheduler.prefix(BEGIN_NS)
        scheduler.take(make_chunk(BEGIN_NS), BEGIN_NS)
        prefix = scheduler.prefix(BEGIN_NS + 2 * STEP_NS)
        assert prefix is not None
        assert prefix.known == (4 if trained else 0)  # 0.19 s are four rows
        assert (prefix.weight[:4] == float(not trained)).all()
        old = make_chunk(BEGIN_NS).positions[2:]
        new = make_chunk(BEGIN_NS + 2 * STEP_NS, offset=0.3)
        taken = scheduler.take(new, BEGIN_NS + 5 * STEP_NS)
        np.testing.assert_allclose(taken.positions[:4], old[:4], atol=1e-12)
        faded = (taken.positions - make_chunk(BEGIN_NS + 2 * STEP_NS).positions)[4:, 0]
        assert (np.diff(faded) >= -1e-12).all()
        np.testing.assert_allclose(faded[2:], 0.3, atol=1e-12)  # behind the old chunk's end


def test_real_time_goes_on_from_nothing_when_the_old_chunk_has_run_out() -> None:
    scheduler = RealTime(delay_of(0.1))
    scheduler.take(make_chunk(BEGIN_NS), BEGIN_NS)
    assert scheduler.prefix(BEGIN_NS + HORIZON * STEP_NS) is None


def test_the_delay_estimate_follows_load_up_at_once_and_down_within_the_window() -> None:
    delay = DelayEstimator(window=4, quantile=0.9, initial_s=0.03)
    assert delay.estimate_s == 0.03
    for seconds in (0.1, 0.1, 0.1, 0.1):
        delay.hear(seconds)
    delay.hear(0.25)
    assert delay.estimate_s == 0.25
    for _ in range(4):
        assert delay.estimate_s == 0.25
        delay.hear(0.1)
    assert delay.estimate_s == 0.1
    with pytest.raises(ValueError, match=r"a delay of -0\.1 s is none; do the clocks agree\?"):
        delay.hear(-0.1)


def test_one_hiccup_in_a_window_does_not_move_a_low_quantile() -> None:
    delay = DelayEstimator(window=20, quantile=0.9)
    for seconds in [0.1] * 19 + [2.0]:
        delay.hear(seconds)
    assert delay.estimate_s == 0.1


def test_late_chunks_are_counted_and_without_a_limit_none_is_late() -> None:
    deadline = Deadline(0.2)
    assert [deadline.met(delay) for delay in (0.1, 0.2, 0.21, 3.0)] == [True, True, False, False]
    assert deadline.misses == 2
    assert Deadline().met(1e6)
    with pytest.raises(UserError, match=r"deadline_s is nan; expected 0 \(none\) or a duration"):
        Deadline(math.nan)


def test_more_of_a_chunk_is_executed_where_chunks_agree_but_never_more_than_the_delay_allows() -> (
    None
):
    horizon = ExecutionHorizon(most=0, tolerance_rad=0.1, spare=1)
    chunk = make_chunk(BEGIN_NS)
    assert horizon.rows(chunk, 0.1, 0.0) == HORIZON - 2 - 1
    assert horizon.rows(chunk, 0.2, 0.0) == HORIZON - 4 - 1
    assert horizon.rows(chunk, 0.1, 0.05) == 2  # half the trust
    assert horizon.rows(chunk, 0.1, 0.2) == 1
    assert horizon.rows(chunk, 0.1, math.inf) == 1
    assert ExecutionHorizon(most=3).rows(chunk, 0.0, 0.0) == 3


def test_chunks_disagree_by_what_they_say_of_the_same_times() -> None:
    first = make_chunk(BEGIN_NS)
    assert disagreement(None, first) == math.inf
    later_ns = BEGIN_NS + 3 * STEP_NS
    assert disagreement(first, make_chunk(later_ns)) == pytest.approx(0.0, abs=1e-9)
    assert disagreement(first, make_chunk(later_ns, offset=0.2)) == pytest.approx(0.2)
    assert disagreement(first, make_chunk(first.end_ns)) == math.inf


def test_a_first_chunk_begins_when_it_comes_since_the_robot_stood() -> None:
    schedule, policy = Schedule(), ContinuingPolicy()
    chunk = schedule.infer(policy, observation_at(BEGIN_NS))
    released = schedule.finish(chunk, BEGIN_NS + 4 * STEP_NS)
    assert released is not None
    assert released.stamp_ns == BEGIN_NS + 4 * STEP_NS
    np.testing.assert_array_equal(released.positions, chunk.positions)
    second = schedule.infer(policy, observation_at(BEGIN_NS + 4 * STEP_NS))
    released = schedule.finish(second, BEGIN_NS + 8 * STEP_NS)
    assert released is not None
    assert released.stamp_ns == BEGIN_NS + 4 * STEP_NS  # the robot moves: rows have their times


def test_a_late_chunk_is_not_executed_and_real_time_goes_on_from_what_is() -> None:
    settings = ScheduleSettings(scheduling="real_time", deadline_s=0.15)
    schedule, policy = Schedule(settings), ContinuingPolicy("prefix_weight")
    first = schedule.infer(policy, observation_at(BEGIN_NS))
    assert schedule.finish(first, BEGIN_NS + 2 * STEP_NS) is not None
    late = schedule.infer(policy, observation_at(BEGIN_NS + 2 * STEP_NS))
    assert schedule.finish(late, BEGIN_NS + 6 * STEP_NS) is None
    assert schedule.describe()["missed_deadlines"] == 1
    schedule.infer(policy, observation_at(BEGIN_NS + 6 * STEP_NS))
    assert policy.prefixes[0] is None
    assert policy.prefixes[2] is not None
    left = first.positions[4:]  # stamped anew two rows later, and four rows have passed since
    np.testing.assert_allclose(policy.prefixes[2].positions[: len(left)], left, atol=1e-12)


def test_with_many_rows_the_next_inference_waits_until_they_are_executed() -> None:
    schedule, policy = Schedule(ScheduleSettings(most_rows=4)), ContinuingPolicy()
    now_ns = BEGIN_NS
    for _ in range(2):
        chunk = schedule.infer(policy, observation_at(now_ns))
        assert schedule.finish(chunk, now_ns) is not None
        assert schedule.due(now_ns + STEP_NS) == (now_ns == BEGIN_NS)  # one chunk cannot agree
        now_ns += STEP_NS
    waited = [schedule.due(BEGIN_NS + rows * STEP_NS) for rows in range(1, 6)]
    assert waited == [False, False, False, False, True]


def test_time_that_is_set_back_stops_no_scheduling() -> None:
    for name in SCHEDULERS:
        schedule = Schedule(ScheduleSettings(scheduling=name))
        chunk = make_chunk(BEGIN_NS)
        assert schedule.prefix(BEGIN_NS) is None
        schedule.finish(chunk, BEGIN_NS)
        assert schedule.due(STEP_NS)
        assert schedule.prefix(STEP_NS) is None


def test_real_time_refuses_a_policy_that_cannot_go_on_and_names_it() -> None:
    schedule = Schedule(ScheduleSettings(scheduling="real_time"))
    schedule.require(ContinuingPolicy("prefix_weight"))
    with pytest.raises(UserError, match=r"scheduling real_time needs .*'continuing' does not"):
        schedule.require(ContinuingPolicy())
    trained = Schedule(ScheduleSettings(scheduling="real_time_trained"))
    with pytest.raises(UserError, match=r"head flow that was trained with flow_delay"):
        trained.require(ContinuingPolicy("prefix_weight"))
    Schedule().require(ContinuingPolicy())


def test_a_scheduling_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(UserError, match=r"scheduling 'eager' does not exist; choose asynchronous"):
        ScheduleSettings(scheduling="eager")
