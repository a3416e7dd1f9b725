"""When a policy is believed that what it is told to handle is not there."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_ros.core.errors import UserError
from vla_ros.planner import RefusalSettings, RefusalSignal

STEP_S = 0.05


def hear(signal: RefusalSignal, start_s: float, end_s: float, grounding: float) -> bool:
    """Tell the signal the same grounding at 20 Hz, both ends included."""
    for tick in range(round(start_s / STEP_S), round(end_s / STEP_S) + 1):
        signal.hear(grounding, tick * STEP_S)
    return signal.given


def test_a_grounding_that_stays_low_from_the_beginning_refuses() -> None:
    signal = RefusalSignal()

    assert not hear(signal, 0.0, 0.45, 0.2)
    assert hear(signal, 0.5, 0.5, 0.2)


def test_a_high_grounding_in_between_begins_the_spell_anew() -> None:
    signal = RefusalSignal()
    hear(signal, 0.0, 0.4, 0.2)
    hear(signal, 0.45, 0.45, 0.9)

    assert not hear(signal, 0.5, 0.95, 0.2)
    assert hear(signal, 1.0, 1.0, 0.2)


def test_a_low_grounding_once_the_task_is_under_way_is_no_refusal() -> None:
    signal = RefusalSignal()
    hear(signal, 10.0, 12.0, 0.9)

    assert not hear(signal, 12.05, 20.0, 0.1)


def test_a_spell_that_ends_just_in_time_refuses_and_one_that_is_too_late_does_not() -> None:
    in_time, late = RefusalSignal(), RefusalSignal()
    hear(in_time, 0.0, 1.45, 0.9)
    hear(late, 0.0, 1.5, 0.9)

    assert hear(in_time, 1.5, 2.0, 0.1)
    assert not hear(late, 1.55, 9.0, 0.1)


def test_a_refusal_is_latched() -> None:
    signal = RefusalSignal()
    hear(signal, 0.0, 0.5, 0.1)

    assert signal.hear(1.0, 0.55)
    assert signal.given


def test_the_threshold_itself_is_not_low() -> None:
    assert not hear(RefusalSignal(), 0.0, 2.0, RefusalSettings().below)


@pytest.mark.parametrize("grounding", [math.nan, math.inf, -math.inf, -0.1])
def test_a_grounding_that_is_none_never_refuses(grounding: float) -> None:
    assert not hear(RefusalSignal(), 0.0, 2.0, grounding)


def test_a_policy_that_cannot_tell_is_never_refused() -> None:
    assert not hear(RefusalSignal(), 0.0, 2.0, 1.0)


def test_what_is_no_work_on_the_task_breaks_a_spell() -> None:
    signal = RefusalSignal()
    hear(signal, 0.0, 0.45, 0.1)
    signal.interrupt()

    assert not hear(signal, 0.5, 0.9, 0.1)


def test_a_decision_is_pending_while_a_low_spell_may_still_refuse() -> None:
    signal = RefusalSignal()
    pending = []
    for tick, grounding in enumerate([0.9] * 2 + [0.1] * 9 + [0.9] + [0.1] * 11):
        signal.hear(grounding, tick * STEP_S)
        pending.append(signal.pending)

    assert pending == [False] * 2 + [True] * 9 + [False] + [True] * 10 + [False]
    assert signal.given


def test_no_decision_is_pending_when_the_task_is_under_way() -> None:
    signal = RefusalSignal()
    hear(signal, 0.0, 1.95, 0.9)
    hear(signal, 2.0, 2.2, 0.1)

    assert not signal.pending


def test_zero_never_refuses() -> None:
    assert not hear(RefusalSignal(RefusalSettings(below=0.0)), 0.0, 2.0, 0.0)


@given(
    st.lists(st.tuples(st.floats(), st.floats(0.0, 0.3)), max_size=80),
    st.floats(-1e3, 1e3),
)
def test_a_refusal_always_follows_on_a_low_spell_that_is_long_and_early_enough(
    said: list[tuple[float, float]], start_s: float
) -> None:
    settings, signal = RefusalSettings(), RefusalSignal()
    now_s = begin_s = start_s
    since_s: float | None = None
    for index, (grounding, step_s) in enumerate(said):
        now_s += step_s if index else 0.0
        given_before = signal.given
        given_now = signal.hear(grounding, now_s)
        low = 0.0 <= grounding < settings.below
        since_s = (now_s if since_s is None else since_s) if low else None
        if given_now and not given_before:
            assert since_s is not None
            assert now_s - since_s >= settings.after_s - 2e-3
            assert now_s - begin_s <= settings.within_s + 2e-3


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("below", 1.5, "refuse_below is 1.5; expected 0 to 1"),
        ("below", math.nan, "refuse_below is nan"),
        ("after_s", -1.0, "refuse_after_s is -1.0; expected 0 to refuse_within_s, 2.0"),
        ("after_s", 3.0, "refuse_after_s is 3.0"),
        ("within_s", math.inf, "refuse_within_s is inf; expected 0 s or more"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(
    setting: str, value: float, reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        RefusalSettings(**{setting: value})
