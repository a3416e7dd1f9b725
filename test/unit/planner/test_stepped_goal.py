"""How a goal of several steps runs and ends."""

from __future__ import annotations

import pytest

from vla_ros.core.errors import DefectError
from vla_ros.planner import (
    GateReport,
    GateState,
    GoalSettings,
    GoalSlot,
    InstructionCheck,
    Outcome,
    RefusalSettings,
    SteppedGoal,
    Verdict,
)

FIRST, SECOND = "push the red cube left", "lift the blue ball"
TEXT = f"{FIRST}, then {SECOND}"
START_NS = 50_000_000_000
SETTINGS = GoalSettings(timeout_s=20.0)


def ns(seconds: float) -> int:
    return START_NS + round(seconds * 1e9)


@pytest.fixture
def goal() -> SteppedGoal:
    return SteppedGoal(TEXT, (FIRST, SECOND), timeout_s=20.0, settings=SETTINGS, now_ns=START_NS)


def work(
    goal: SteppedGoal,
    start_s: float,
    end_s: float,
    progress: float,
    *,
    of: str | None = None,
    grounding: float = 1.0,
) -> Verdict | None:
    """Have the gate execute chunks of the step under way, at 20 Hz; return the verdict."""
    text = goal.step if of is None else of
    for tick in range(round(start_s * 20), round(end_s * 20) + 1):
        report = GateReport(
            received_ns=ns(tick / 20),
            state=GateState.EXECUTING,
            reason="",
            instruction=text,
            progress=progress,
            grounding=grounding,
            chunk_age_s=0.05,
        )
        goal.observe(report)
        goal.check(report.received_ns)
    return goal.verdict


def test_the_second_step_begins_when_the_first_one_has_succeeded(goal: SteppedGoal) -> None:
    assert (goal.step, goal.number) == (FIRST, 1)
    work(goal, 0.5, 3.0, 0.95)

    assert goal.verdict is None
    assert (goal.step, goal.number) == (SECOND, 2)


def test_the_goal_succeeds_with_its_last_step(goal: SteppedGoal) -> None:
    work(goal, 0.5, 3.0, 0.95)
    verdict = work(goal, 3.2, 6.0, 0.97)

    assert verdict is not None
    assert verdict.outcome is Outcome.SUCCEEDED
    assert verdict.message.startswith("all 2 steps are done; in the last one the policy reports")
    assert verdict.duration_s == pytest.approx(3.75, abs=0.1)
    assert verdict.progress == 0.97


def test_progress_of_the_first_step_does_not_count_for_the_second(goal: SteppedGoal) -> None:
    work(goal, 0.5, 3.0, 0.95)
    work(goal, 3.05, 5.0, 1.0, of=FIRST)

    assert goal.verdict is None
    assert goal.feedback(ns(5.0)).progress == 0.0


def test_feedback_says_which_step_of_how_many(goal: SteppedGoal) -> None:
    work(goal, 0.5, 1.0, 0.2)
    before = goal.feedback(ns(1.0))
    work(goal, 1.05, 2.0, 0.95)
    work(goal, 2.2, 2.5, 0.3)
    after = goal.feedback(ns(2.5))

    assert before.step == FIRST
    assert before.reason == "step 1 of 2: the policy is working on it"
    assert (after.step, after.progress) == (SECOND, 0.3)
    assert after.reason == "step 2 of 2: the policy is working on it"
    assert after.elapsed_s == pytest.approx(2.5)


def test_the_time_out_is_for_all_steps_together(goal: SteppedGoal) -> None:
    work(goal, 0.5, 12.0, 0.4)
    work(goal, 12.05, 12.6, 0.95)
    assert goal.number == 2
    assert work(goal, 12.8, 19.9, 0.4) is None
    verdict = work(goal, 19.95, 20.2, 0.4)

    assert verdict is not None
    assert verdict.outcome is Outcome.TIMED_OUT
    assert verdict.message.startswith(f'step 2 of 2, "{SECOND}": not done after 7.')
    assert verdict.message.endswith("all steps together may take 20.0 s")
    assert verdict.duration_s == pytest.approx(20.0, abs=0.1)


def test_a_step_that_fails_ends_the_goal_and_is_named(goal: SteppedGoal) -> None:
    work(goal, 0.5, 2.0, 0.95)
    verdict = work(goal, 2.2, 4.0, 1.0, grounding=0.1)

    assert verdict is not None
    assert verdict.outcome is Outcome.NOT_FOUND
    assert verdict.message.startswith(f'step 2 of 2, "{SECOND}": what "{SECOND}" names is not on')


def test_what_is_missing_in_the_first_step_ends_the_goal_before_the_second(
    goal: SteppedGoal,
) -> None:
    verdict = work(goal, 0.5, 1.5, 0.0, grounding=0.1)

    assert verdict is not None
    assert verdict.outcome is Outcome.NOT_FOUND
    assert goal.step == FIRST


def test_a_later_step_is_refused_at_its_own_beginning_when_the_arm_is_out_of_the_way(
    goal: SteppedGoal,
) -> None:
    work(goal, 0.5, 6.0, 0.4)
    work(goal, 6.05, 6.6, 0.95)
    assert work(goal, 6.8, 7.8, 0.0, grounding=0.1) is None
    assert work(goal, 7.85, 8.2, 0.0, grounding=0.9) is None
    verdict = work(goal, 8.25, 9.75, 0.0, grounding=0.1)

    assert verdict is not None
    assert verdict.outcome is Outcome.NOT_FOUND


def test_a_planner_that_never_refuses_does_not_at_a_later_step_either() -> None:
    settings = GoalSettings(timeout_s=20.0, refusal=RefusalSettings(below=0.0))
    goal = SteppedGoal(TEXT, (FIRST, SECOND), timeout_s=20.0, settings=settings, now_ns=START_NS)
    work(goal, 0.5, 1.5, 0.95)

    assert work(goal, 1.7, 6.0, 0.0, grounding=0.0) is None


def test_a_goal_that_is_ended_from_outside_says_where_it_was(goal: SteppedGoal) -> None:
    work(goal, 0.5, 2.0, 0.95)
    verdict = goal.end(Outcome.CANCELED, "canceled by the client", now_ns=ns(2.5))

    assert verdict.message == f'step 2 of 2, "{SECOND}": canceled by the client'
    assert goal.check(ns(30.0)) is verdict
    assert goal.end(Outcome.FAILED, "late", now_ns=ns(31.0)) is verdict


def test_a_goal_of_one_step_speaks_of_none() -> None:
    goal = SteppedGoal(FIRST, (FIRST,), timeout_s=20.0, settings=SETTINGS, now_ns=START_NS)
    work(goal, 0.5, 0.7, 0.2)

    assert goal.feedback(ns(1.0)).reason == "the policy is working on it"
    verdict = work(goal, 0.75, 2.0, 0.95)
    assert verdict is not None
    assert verdict.message.startswith("the policy reports progress 0.95")


def test_steps_of_the_same_words_each_take_their_own_work() -> None:
    goal = SteppedGoal(TEXT, (FIRST, FIRST), timeout_s=20.0, settings=SETTINGS, now_ns=START_NS)
    work(goal, 0.5, 1.0, 0.95)

    assert goal.number == 2
    assert work(goal, 1.05, 1.4, 0.95) is None
    verdict = work(goal, 1.45, 2.0, 0.95)
    assert verdict is not None
    assert verdict.outcome is Outcome.SUCCEEDED


def test_a_goal_without_steps_is_a_bug() -> None:
    with pytest.raises(DefectError, match="has no step"):
        SteppedGoal(TEXT, (), timeout_s=20.0, settings=SETTINGS, now_ns=START_NS)


def test_an_admitted_goal_has_the_steps_of_its_instruction() -> None:
    slot = GoalSlot(check=InstructionCheck(), settings=SETTINGS)
    admitted = slot.admit(f"  {TEXT}. ", 0.0, START_NS).monitor

    assert admitted is not None
    assert admitted.instruction == f"{TEXT}."
    assert admitted.steps == (FIRST, f"{SECOND}.")
