"""How a goal ends: progress, time-out, a holding gate, nothing to be found, a second goal."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_ros.core.errors import UserError
from vla_ros.planner import (
    GateReport,
    GateState,
    GoalMonitor,
    GoalSettings,
    GoalSlot,
    InstructionCheck,
    Outcome,
    SecondGoal,
)

TASK = "lift the red cube"
START_NS = 50_000_000_000
SETTINGS = GoalSettings(timeout_s=20.0, done_progress=0.9, done_for_s=0.5)


def ns(seconds: float) -> int:
    return START_NS + round(seconds * 1e9)


def report(seconds: float, progress: float = 0.5, **changes: object) -> GateReport:
    work = GateReport(
        received_ns=ns(seconds),
        state=GateState.EXECUTING,
        reason="",
        instruction=TASK,
        progress=progress,
        chunk_age_s=0.05,
    )
    return replace(work, **changes)  # type: ignore[arg-type]


@pytest.fixture
def monitor() -> GoalMonitor:
    return GoalMonitor(TASK, timeout_s=20.0, settings=SETTINGS, now_ns=START_NS)


def work(monitor: GoalMonitor, start_s: float, end_s: float, progress: float) -> None:
    for tick in range(round(start_s * 20), round(end_s * 20) + 1):
        monitor.observe(report(tick / 20, progress))


def test_an_operator_who_helps_does_not_end_the_goal(monitor: GoalMonitor) -> None:
    work(monitor, 0.5, 1.0, 0.4)
    for tick in range(20, 121):
        monitor.observe(report(tick / 20, 0.0, instruction="", operated=True))
    assert monitor.check(ns(6.0)) is None
    work(monitor, 6.1, 7.0, 0.95)
    verdict = monitor.check(ns(7.0))
    assert verdict is not None
    assert verdict.outcome is Outcome.SUCCEEDED


def test_an_operator_who_goes_silent_leaves_the_goal_held(monitor: GoalMonitor) -> None:
    work(monitor, 0.5, 1.0, 0.4)
    monitor.observe(report(1.1, 0.0, instruction="", operated=True))
    for tick in range(24, 70):
        monitor.observe(report(tick / 20, 0.0, state=GateState.HOLD, reason="gone silent"))
    verdict = monitor.check(ns(3.5))
    assert verdict is not None
    assert verdict.outcome is Outcome.HELD


def test_progress_that_stays_high_is_success(monitor: GoalMonitor) -> None:
    work(monitor, 0.5, 3.0, 0.4)
    assert monitor.check(ns(3.0)) is None
    work(monitor, 3.05, 3.6, 0.95)

    verdict = monitor.check(ns(3.6))

    assert verdict is not None
    assert verdict.outcome is Outcome.SUCCEEDED
    assert verdict.progress == 0.95
    assert verdict.duration_s == pytest.approx(3.6)
    assert "progress 0.95" in verdict.message


def test_a_short_peak_of_progress_is_not_success(monitor: GoalMonitor) -> None:
    work(monitor, 0.5, 0.9, 0.95)
    work(monitor, 0.95, 1.0, 0.5)
    work(monitor, 1.05, 1.5, 0.95)

    assert monitor.check(ns(1.5)) is None


def test_silence_after_a_high_progress_is_not_success(monitor: GoalMonitor) -> None:
    monitor.observe(report(1.0, 0.95))

    assert monitor.check(ns(2.5)) is None
    verdict = monitor.check(ns(3.5))
    assert verdict is not None
    assert verdict.outcome is Outcome.HELD


def test_the_chunk_of_the_goal_before_with_the_same_words_does_not_count(
    monitor: GoalMonitor,
) -> None:
    for tick in range(40):
        monitor.observe(report(tick / 20, 1.0, chunk_age_s=tick / 20 + 0.1))

    assert monitor.check(ns(2.0)) is None
    assert monitor.feedback(ns(2.0)).progress == 0.0


@pytest.mark.parametrize("progress", [math.nan, math.inf, -0.1, 1.1])
def test_progress_out_of_range_never_ends_a_goal(monitor: GoalMonitor, progress: float) -> None:
    work(monitor, 0.1, 2.0, progress)

    assert monitor.check(ns(2.0)) is None


def test_a_goal_that_is_not_done_times_out_with_its_progress(monitor: GoalMonitor) -> None:
    work(monitor, 0.5, 20.0, 0.6)

    assert monitor.check(ns(19.9)) is None
    verdict = monitor.check(ns(20.0))

    assert verdict is not None
    assert verdict.outcome is Outcome.TIMED_OUT
    assert "progress 0.60, done is 0.90" in verdict.message


def test_an_emergency_stop_ends_the_goal_at_once(monitor: GoalMonitor) -> None:
    work(monitor, 0.5, 1.0, 0.3)
    monitor.observe(report(1.05, state=GateState.ESTOP, reason="emergency stop"))

    verdict = monitor.check(ns(1.05))

    assert verdict is not None
    assert verdict.outcome is Outcome.HELD
    assert "emergency stop" in verdict.message


def test_a_gate_that_holds_on_a_fault_ends_the_goal_and_names_the_fault(
    monitor: GoalMonitor,
) -> None:
    work(monitor, 0.5, 1.0, 0.3)
    fault = "/joint_states: stale by 0.4 s"
    for tick in range(21, 80):
        monitor.observe(report(tick / 20, state=GateState.HOLD, reason=fault))

    assert monitor.check(ns(3.0)) is None
    assert fault in monitor.feedback(ns(3.0)).reason
    verdict = monitor.check(ns(3.1))

    assert verdict is not None
    assert verdict.outcome is Outcome.HELD
    assert fault in verdict.message


def test_a_gate_that_recovers_in_time_does_not_end_the_goal(monitor: GoalMonitor) -> None:
    work(monitor, 0.5, 1.0, 0.3)
    for tick in range(21, 55):
        monitor.observe(report(tick / 20, state=GateState.HOLD, reason="no chunk"))
    work(monitor, 2.8, 4.0, 0.4)

    assert monitor.check(ns(4.0)) is None


def test_a_policy_that_never_starts_ends_the_goal_after_the_grace(monitor: GoalMonitor) -> None:
    for tick in range(120):
        monitor.observe(report(tick / 20, state=GateState.HOLD, reason="no chunk has arrived"))

    assert monitor.check(ns(5.0)) is None
    assert monitor.feedback(ns(4.0)).reason.startswith("waiting for the policy")
    verdict = monitor.check(ns(5.1))

    assert verdict is not None
    assert verdict.outcome is Outcome.HELD
    assert "no chunk has arrived" in verdict.message


def test_a_gate_that_is_never_heard_of_is_named(monitor: GoalMonitor) -> None:
    verdict = monitor.check(ns(6.0))

    assert verdict is not None
    assert verdict.outcome is Outcome.HELD
    assert "no word from the gate yet" in verdict.message


def test_another_instruction_in_the_gate_is_named(monitor: GoalMonitor) -> None:
    monitor.observe(report(1.0, instruction="push the blue ball left"))

    assert 'still executes "push the blue ball left"' in monitor.feedback(ns(1.0)).reason


def look(monitor: GoalMonitor, start_s: float, end_s: float, grounding: float) -> None:
    """Have the gate execute chunks of this grounding, at 20 Hz."""
    for tick in range(round(start_s * 20), round(end_s * 20) + 1):
        monitor.observe(report(tick / 20, 0.1, grounding=grounding))


def test_what_is_named_and_not_there_ends_the_goal_in_words(monitor: GoalMonitor) -> None:
    look(monitor, 0.5, 0.95, 0.12)
    assert monitor.check(ns(0.95)) is None
    look(monitor, 1.0, 1.05, 0.12)

    verdict = monitor.check(ns(1.05))

    assert verdict is not None
    assert verdict.outcome is Outcome.NOT_FOUND
    assert f'what "{TASK}" names is not on the table' in verdict.message
    assert "grounding is 0.12, below 0.50" in verdict.message


def test_a_grounding_that_falls_while_the_task_is_under_way_is_no_refusal(
    monitor: GoalMonitor,
) -> None:
    look(monitor, 0.5, 2.6, 0.9)
    look(monitor, 2.65, 6.0, 0.05)

    assert monitor.check(ns(6.0)) is None


def test_what_is_not_there_is_never_a_success(monitor: GoalMonitor) -> None:
    for tick in range(10, 30):
        lag_s = 0.04 if tick == 10 else 0.12  # of the observation: it lasts less than the reports
        monitor.observe(report(tick / 20, 1.0, grounding=0.1, chunk_age_s=lag_s))
        monitor.check(ns(tick / 20))

    assert monitor.verdict is not None
    assert monitor.verdict.outcome is Outcome.NOT_FOUND


def test_one_chunk_that_is_executed_for_long_is_one_opinion(monitor: GoalMonitor) -> None:
    for tick in range(10, 25):
        age_s = 0.05 + (tick - 10) / 20
        monitor.observe(report(tick / 20, 0.1, grounding=0.05, chunk_age_s=age_s))

    assert monitor.check(ns(1.25)) is None


def test_a_low_grounding_of_another_instruction_refuses_nothing(monitor: GoalMonitor) -> None:
    for tick in range(10, 40):
        monitor.observe(report(tick / 20, 0.1, grounding=0.05, instruction="another"))

    assert monitor.check(ns(2.0)) is None


def test_a_gate_that_stops_executing_breaks_a_low_spell(monitor: GoalMonitor) -> None:
    look(monitor, 0.5, 0.9, 0.1)
    monitor.observe(report(0.95, state=GateState.HOLD, reason="no chunk"))
    look(monitor, 1.0, 1.4, 0.1)

    assert monitor.check(ns(1.4)) is None


def test_a_verdict_is_final(monitor: GoalMonitor) -> None:
    first = monitor.end(Outcome.CANCELED, "the client asked", now_ns=ns(1.0))
    work(monitor, 1.0, 3.0, 1.0)

    assert monitor.check(ns(30.0)) is first
    assert monitor.end(Outcome.FAILED, "late", now_ns=ns(31.0)) is first


REPORTS = st.builds(
    lambda state, reason, instruction, progress, age: (state, reason, instruction, progress, age),
    st.sampled_from(GateState),
    st.text(max_size=5),
    st.sampled_from([TASK, "", "another"]),
    st.floats(),
    st.floats(),
)


@given(st.lists(REPORTS, max_size=60), st.integers(1, 500))
def test_whatever_the_gate_says_a_goal_ends_and_never_succeeds_without_lasting_progress(
    said: list[tuple[GateState, str, str, float, float]], step_ms: int
) -> None:
    monitor = GoalMonitor(TASK, timeout_s=20.0, settings=SETTINGS, now_ns=START_NS)
    longest_s, since = 0.0, None
    for index, (state, reason, instruction, progress, age) in enumerate(said, start=1):
        seconds = index * step_ms / 1000
        monitor.observe(report(seconds, progress, state=state, reason=reason,
                               instruction=instruction, chunk_age_s=age))  # fmt: skip
        done = state is GateState.EXECUTING and instruction == TASK and 0.9 <= progress <= 1.0
        if done and seconds - age > 0:
            since = seconds if since is None else since
            longest_s = max(longest_s, seconds - since)
        else:
            since = None
        verdict = monitor.check(ns(seconds))
        if verdict is not None and verdict.outcome is Outcome.SUCCEEDED:
            assert longest_s >= SETTINGS.done_for_s - 1e-6
    assert monitor.check(ns(20.0)) is not None


def slot(rule: SecondGoal) -> GoalSlot:
    return GoalSlot(check=InstructionCheck(), settings=SETTINGS, second_goal=rule)


def test_a_second_goal_is_refused_and_the_first_one_named() -> None:
    goals = slot(SecondGoal.REJECT)
    first = goals.admit(TASK, 0.0, START_NS)

    second = goals.admit("push the blue ball left", 0.0, ns(1.0))

    assert first.monitor is not None
    assert second.monitor is None
    assert f'"{TASK}" still runs' in second.reason
    assert goals.current is first.monitor


def test_a_second_goal_takes_over_when_that_is_configured() -> None:
    goals = slot(SecondGoal.PREEMPT)
    first = goals.admit(TASK, 0.0, START_NS)

    second = goals.admit("push the blue ball left", 0.0, ns(1.0))

    assert second.preempted is first.monitor
    assert first.monitor is not None
    assert first.monitor.verdict is not None
    assert first.monitor.verdict.outcome is Outcome.PREEMPTED
    assert goals.current is second.monitor


def test_a_refused_instruction_never_disturbs_the_running_goal() -> None:
    goals = slot(SecondGoal.PREEMPT)
    first = goals.admit(TASK, 0.0, START_NS)

    refused = goals.admit("make me a coffee", 0.0, ns(1.0))

    assert refused.monitor is None
    assert "nothing in it is known" in refused.reason
    assert goals.current is first.monitor


def test_a_goal_may_follow_one_that_has_ended() -> None:
    goals = slot(SecondGoal.REJECT)
    first = goals.admit(TASK, 0.0, START_NS)
    assert first.monitor is not None
    first.monitor.end(Outcome.CANCELED, "", now_ns=ns(1.0))

    assert goals.admit(TASK, 0.0, ns(1.1)).monitor is not None


@pytest.mark.parametrize("timeout_s", [-1.0, math.nan, math.inf, 1e6])
def test_an_impossible_time_out_is_refused(timeout_s: float) -> None:
    admission = slot(SecondGoal.REJECT).admit(TASK, timeout_s, START_NS)

    assert admission.monitor is None
    assert "expected 0 (the default, 20.0 s) to 600.0 s" in admission.reason


@pytest.mark.parametrize(
    ("setting", "value"),
    [("timeout_s", 0.0), ("held_after_s", math.nan), ("done_progress", 1.2), ("done_for_s", 99.0)],
)
def test_settings_out_of_range_are_refused_by_name(setting: str, value: float) -> None:
    with pytest.raises(UserError, match=f"planner: {setting} is {value}"):
        GoalSettings(**{setting: value})  # type: ignore[arg-type]
