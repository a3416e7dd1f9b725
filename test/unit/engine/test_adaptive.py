"""Adaptive inference: a chunk goes on at the right times, for as long as it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import ObservationError, UserError
from vla_ros.core.protocols import Policy
from vla_ros.core.types import ActionChunk, FloatArray, Observation
from vla_ros.engine.adaptive import (
    AdaptivePolicy,
    AdaptiveSettings,
    describe_saving,
)
from vla_ros.engine.chunk_times import expected_state, later
from vla_ros.testing.gate_rig import GateRig
from vla_ros.testing.observations import make_observation
from vla_ros.testing.policy_conformance import PolicyConformance
from vla_ros.testing.scripted_policy import ScriptedPolicy
from vla_ros.testing.swaying_policy import SwayingPolicy

CONTRACT = load_contract("tabletop_sim")
HOME = np.array(CONTRACT.home)
FRAME_NS = 50_000_000
#: No inference but the first two, which have to agree, is made for its own sake.
SETTINGS = AdaptiveSettings(first=2, max_age_s=0.15, changed=0.02, changed_per_rad=1.5)


class Counting(SwayingPolicy):
    """Sways, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__(CONTRACT)
        self.asked = 0

    def infer(self, observation: Observation) -> ActionChunk:
        self.asked += 1
        return super().infer(observation)


@pytest.fixture
def inner() -> Counting:
    return Counting()


@pytest.fixture
def policy(inner: Counting) -> AdaptivePolicy:
    return begun(inner, SETTINGS)


def begun(inner: Policy, settings: AdaptiveSettings) -> AdaptivePolicy:
    """A policy that has just inferred the second time, at step 0, as was to be expected."""
    made = AdaptivePolicy(inner, settings)
    made.start("wave")
    for step in (-1, 0):
        made.infer(seen(step, swayed(step)))
    return made


def seen(step: int = 0, state: FloatArray = HOME) -> Observation:
    """The same scene, `step` frames later, with the joints where they are said to be."""
    return make_observation(CONTRACT, stamp_ns=10**9 + step * FRAME_NS, state=state)


def swayed(step: int) -> FloatArray:
    """Where the swaying arm is at a step; it began at home at step -1."""
    moved = HOME.copy()
    moved[0] += 0.2 * np.sin(2 * np.pi * 0.2 * 0.05 * (step + 1))
    return moved


class TestConformance(PolicyConformance):
    def make_policy(self) -> Policy:
        path = ScriptedPolicy(CONTRACT, lambda t: HOME + 0.1 * np.sin(t), duration_s=1.0)
        return AdaptivePolicy(path, SETTINGS)

    def make_contract(self) -> RobotContract:
        return CONTRACT


def test_a_chunk_goes_on_where_it_is_and_never_begins_again(
    inner: Counting, policy: AdaptivePolicy
) -> None:
    for step in (1, 2, 3):
        chunk = policy.infer(seen(step, swayed(step)))
        assert chunk.stamp_ns == seen(step).stamp_ns
        assert chunk.end_ns == seen(12).stamp_ns
        last = [swayed(row) for row in range(step + 1, 13)]
        np.testing.assert_allclose(chunk.positions, last, atol=1e-6)
    assert inner.asked == 2
    assert (policy.observations, policy.inferences) == (5, 2)
    assert policy.saved == pytest.approx(0.6)
    assert describe_saving(policy) == {"inferences": 2, "inferences_saved": 0.6}
    assert describe_saving(inner) == {}


@pytest.mark.parametrize("between_rows", [0.0, 0.25, 0.5, 0.9])
def test_rows_are_of_the_time_that_they_say(between_rows: float) -> None:
    whole = ActionChunk(
        stamp_ns=7 * 10**9,
        step_s=0.05,
        joint_names=CONTRACT.action.joints,
        positions=np.arange(1.0, 11.0)[:, None] * np.ones(6) * 0.1,  # 2 rad/s, from 0 at the stamp
        progress=0.3,
        grounding=0.8,
        instruction="go on",
    )
    stamp_ns = whole.stamp_ns + round((3 + between_rows) * FRAME_NS)
    left = later(whole, stamp_ns)
    times_s = (stamp_ns - whole.stamp_ns) * 1e-9 + 0.05 * np.arange(1, left.horizon + 1)
    np.testing.assert_allclose(left.positions, 2.0 * times_s[:, None] * np.ones(6), atol=1e-9)
    assert left.horizon == (7 if between_rows == 0 else 6)
    assert left.end_ns <= whole.end_ns
    assert (left.progress, left.grounding, left.instruction) == (0.3, 0.8, "go on")


def test_nothing_is_left_of_a_chunk_that_has_ended() -> None:
    chunk = SwayingPolicy(CONTRACT)
    chunk.start("wave")
    whole = chunk.infer(seen(0))
    assert later(whole, whole.end_ns - FRAME_NS).horizon == 1
    for stamp_ns in (whole.end_ns, whole.stamp_ns - FRAME_NS):
        with pytest.raises(ValueError, match=r"a chunk of 12 rows has none left after"):
            later(whole, stamp_ns)


def moved_thing(observation: Observation) -> Observation:
    """As if something of 16 x 16 pixels had been put into the front camera's view."""
    image = observation.images["front"].copy()
    image[32:64, 32:64] = 255 - image[32:64, 32:64].mean(dtype=np.float64) // 2
    return replace(observation, images={**observation.images, "front": image})


def pushed(observation: Observation) -> Observation:
    return replace(observation, state=observation.state + np.float32(0.1))


def without_wrist(observation: Observation) -> Observation:
    images = {name: image for name, image in observation.images.items() if name != "wrist"}
    return replace(observation, images=images)


def without_imu(observation: Observation) -> Observation:
    return replace(observation, imu=None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (moved_thing, "front"),
        (pushed, "joints"),
        (without_imu, "sensors"),
        (lambda observation: replace(observation, stamp_ns=10**9 - FRAME_NS), "old"),
        (lambda observation: replace(observation, stamp_ns=10**9 + 4 * FRAME_NS), "old"),
    ],
)
def test_what_the_chunk_did_not_foresee_is_inferred_anew(
    inner: Counting,
    policy: AdaptivePolicy,
    change: Callable[[Observation], Observation],
    reason: str,
) -> None:
    changed = change(seen(1, swayed(0)))
    chunk = policy.infer(changed)
    assert inner.asked == 3
    assert dict(policy.reasons) == {"first": 2, reason: 1}
    assert chunk.horizon == 12
    assert chunk.stamp_ns == changed.stamp_ns


class Undecided(Counting):
    """Wants the third joint now here and now there, from the third row on."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self._by = by

    def infer(self, observation: Observation) -> ActionChunk:
        chunk = super().infer(observation)
        chunk.positions[2:, 2] += self._by * (self.asked % 2)
        return chunk


@pytest.mark.parametrize(("by", "asked"), [(0.07, 2), (0.09, 5)])
def test_a_policy_that_changes_its_mind_is_asked_each_time(by: float, asked: int) -> None:
    inner = Undecided(by)
    policy = begun(inner, SETTINGS)
    for step in (1, 2, 3):
        policy.infer(seen(step, swayed(step)))
    assert inner.asked == asked
    assert policy.reasons["plan"] == asked - 2


class Mindful(Counting):
    """Remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.noticed: list[int] = []

    def notice(self, observation: Observation) -> None:
        self.noticed.append(observation.stamp_ns)


def test_a_policy_with_a_memory_takes_note_of_what_it_is_not_asked_about() -> None:
    inner = Mindful()
    policy = begun(inner, SETTINGS)
    for step in (1, 2, 3, 4):
        policy.infer(seen(step, swayed(step)))
    assert inner.noticed == [seen(step).stamp_ns for step in (1, 2, 3)]
    assert inner.asked == 3


def test_a_chunk_is_used_for_so_long_however_still_everything_is(inner: Counting) -> None:
    policy = begun(inner, replace(SETTINGS, max_age_s=0.1))
    for step in range(1, 7):
        policy.infer(seen(step, swayed(step)))
    assert inner.asked == 4, "at -0.05, 0, 0.15 and 0.3 s"
    assert dict(policy.reasons) == {"first": 2, "old": 2}


def test_a_chunk_is_replaced_before_it_runs_out(inner: Counting) -> None:
    policy = begun(inner, replace(SETTINGS, max_age_s=5.0, min_remaining_s=0.25))
    chunks = [policy.infer(seen(step, swayed(step))) for step in range(1, 10)]
    assert [chunk.horizon for chunk in chunks] == [11, 10, 9, 8, 7, 6, 5, 12, 11]
    assert policy.reasons["short"] == 1


def test_the_more_the_arm_moves_the_more_may_change_by_that() -> None:
    moved = seen(3, swayed(3))
    assert np.abs(moved.state - swayed(0)).max() == pytest.approx(0.037, abs=1e-3)
    changed = moved_thing(moved)  # 16 of 256 cells of the front image
    for per_rad, inferences in ((1.5, 3), (2.0, 2)):
        inner = Counting()
        policy = begun(inner, replace(SETTINGS, changed=0.0, changed_per_rad=per_rad))
        policy.infer(changed)
        assert inner.asked == inferences


def test_a_camera_on_the_hand_may_see_more_change() -> None:
    changed = moved_thing(seen(3, swayed(3)))
    for on_hand, inferences in (((), 3), (("front", "wrist"), 2)):
        inner = Counting()
        policy = begun(inner, replace(SETTINGS, changed=0.0, on_hand=on_hand))
        policy.infer(changed)
        assert inner.asked == inferences


def test_every_new_instruction_begins_with_inferences(inner: Counting) -> None:
    policy = AdaptivePolicy(inner, replace(SETTINGS, first=3))
    for text in ("wave", "wave on"):
        policy.start(text)
        before = inner.asked
        chunks = [policy.infer(seen(step, swayed(step))) for step in range(-1, 4)]
        assert inner.asked - before == 3
        assert {chunk.instruction for chunk in chunks} == {text}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_state_that_is_not_finite_reaches_the_policy_which_refuses_it(bad: float) -> None:
    class Careful(Counting):
        def infer(self, observation: Observation) -> ActionChunk:
            if not np.isfinite(observation.state).all():
                raise ObservationError("observation.state", "is not finite")
            return super().infer(observation)

    inner = Careful()
    policy = begun(inner, SETTINGS)
    state = swayed(1)
    state[2] = bad
    with pytest.raises(ObservationError, match=r"observation\.state"):
        policy.infer(seen(1, state))
    policy.infer(seen(2, swayed(2)))
    assert inner.asked == 3, "after a refusal no older chunk comes back"


def test_a_camera_that_the_policy_requires_is_missed_though_a_chunk_is_left(
    policy: AdaptivePolicy,
) -> None:
    with pytest.raises(ObservationError, match=r"observation\.images\.wrist"):
        policy.infer(without_wrist(seen(1, swayed(1))))


def test_joints_are_expected_to_lag_as_they_did() -> None:
    whole = ActionChunk(
        stamp_ns=10**9,
        step_s=0.05,
        joint_names=CONTRACT.action.joints,
        positions=HOME + np.arange(1, 11)[:, None] * 0.05,
    )
    lagging = replace(seen(0, HOME - 0.02), command=HOME.astype(np.float32))
    state = expected_state(lagging, whole, 10**9 + 3 * FRAME_NS)
    np.testing.assert_allclose(state, HOME - 0.02 + 0.15, atol=1e-6)
    unknown = expected_state(seen(0), whole, 10**9 + FRAME_NS // 2)
    np.testing.assert_allclose(unknown, HOME + 0.025, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"first": 0}, "adaptive: first is 0; expected 1 or more"),
        ({"cells": 0}, "adaptive: cells is 0; expected 1 or more"),
        ({"max_age_s": -0.1}, "adaptive: max_age_s is -0.1; expected 0 or more"),
        ({"level": float("nan")}, "adaptive: level is nan; expected 0 or more"),
    ],
)
def test_settings_out_of_range_are_named(changes: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        AdaptiveSettings(**changes)  # type: ignore[arg-type]


def test_the_gate_executes_what_is_left_without_a_refusal_or_a_violation() -> None:
    inner = ScriptedPolicy(CONTRACT, lambda t: HOME + 0.2 * np.sin(2 * t), duration_s=1.5)
    policy, rig = AdaptivePolicy(inner, AdaptiveSettings(changed=1.0)), GateRig(CONTRACT)
    policy.start("wave")
    rig.tick()
    for tick in range(150):
        if tick % 5 == 0:
            observation = make_observation(CONTRACT, stamp_ns=rig.now_ns, state=rig.position)
            rig.accept(policy.infer(observation))
        rig.tick()
    assert policy.saved > 0.4
    assert rig.gate.rejected_chunks == 0
    assert rig.checker.violations == 0
    assert rig.position == pytest.approx(HOME + 0.2 * np.sin(2 * 1.5), abs=0.05)
