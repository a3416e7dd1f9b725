"""Whatever the targets do, the commands keep every limit exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core.errors import NonFiniteCommand
from vla_ros.core.types import FloatArray
from vla_ros.safety import Gate, JointLimits, LimitChecker, MotionFilter
from vla_ros.safety.motion import JointMotion, runout, runout_inverse

DT_S = 0.01
NAMES = ("a", "b", "c")
QUICK = settings(max_examples=100, deadline=None)


def exact_violations(outputs: FloatArray, limits: JointLimits, dt_s: float) -> list[str]:
    """Check by whole-array differences, without a tolerance: another way than `LimitChecker`."""
    padded = np.concatenate([np.repeat(outputs[:1], 3, axis=0), outputs])
    found = []
    for order, bound in enumerate((limits.velocity, limits.acceleration, limits.jerk), start=1):
        rate = np.diff(padded, n=order, axis=0) / dt_s**order
        if not (np.abs(rate) <= bound).all():
            found.append(f"difference {order}: {np.abs(rate).max(axis=0)} > {bound}")
    if not ((outputs >= limits.lower) & (outputs <= limits.upper)).all():
        found.append("position")
    return found


@st.composite
def joint_limits(draw: st.DrawFn) -> JointLimits:
    def logarithmic(low: float, high: float) -> FloatArray:
        return np.exp([draw(st.floats(np.log(low), np.log(high))) for _ in NAMES])

    lower = np.array([draw(st.floats(-3.0, 3.0)) for _ in NAMES])
    return JointLimits(
        names=NAMES,
        lower=lower,
        upper=lower + logarithmic(0.01, 6.0),
        velocity=logarithmic(0.05, 20.0),
        acceleration=logarithmic(0.5, 200.0),
        jerk=logarithmic(5.0, 10_000.0),
    )


@st.composite
def target_sequences(draw: st.DrawFn, length: int = 120) -> FloatArray:
    """Adversarial targets: steps, alternating extremes, random walks, noise, far away."""
    seed = draw(st.integers(0, 2**32 - 1))
    kind = draw(st.sampled_from(["extremes", "steps", "walk", "noise", "far"]))
    rng = np.random.default_rng(seed)
    if kind == "extremes":
        return np.repeat(rng.choice([-1e6, 1e6], (length, 3)), rng.integers(1, 30), axis=0)[
            :length
        ]
    if kind == "steps":
        return np.repeat(rng.uniform(-4, 4, (length, 3)), rng.integers(1, 40), axis=0)[:length]
    if kind == "walk":
        return np.cumsum(rng.normal(0, 0.1, (length, 3)), axis=0)
    if kind == "noise":
        return rng.normal(0, 1, (length, 3))
    return np.full((length, 3), draw(st.sampled_from([1e8, -1e8])))


@QUICK
@given(
    joint_limits(), target_sequences(), st.sampled_from([0.001, 0.01, 0.02]), st.integers(0, 99)
)
def test_no_sequence_of_targets_makes_a_command_break_a_limit(
    limits: JointLimits, targets: FloatArray, dt_s: float, seed: int
) -> None:
    motion = MotionFilter(limits, dt_s)
    rng = np.random.default_rng(seed)
    motion.reset(rng.uniform(limits.lower, limits.upper))
    rates = rng.normal(0, 5, (2, len(targets), 3)) * rng.choice([0, 1, 100])
    outputs = [motion.position]
    for index, target in enumerate(targets):
        outputs.append(motion.step(target, rates[0, index], rates[1, index]))
    assert exact_violations(np.array(outputs), limits, dt_s) == []


@QUICK
@given(joint_limits(), target_sequences(length=60), st.integers(0, 2**20))
def test_braking_at_any_moment_reaches_rest_within_the_limits(
    limits: JointLimits, targets: FloatArray, seed: int
) -> None:
    motion = MotionFilter(limits, DT_S)
    rng = np.random.default_rng(seed)
    motion.reset(rng.uniform(limits.lower, limits.upper))
    outputs = [motion.position]
    outputs += [motion.step(target) for target in targets[: rng.integers(1, len(targets))]]
    promised = motion.stopping_point()
    outputs += [motion.brake() for _ in range(motion.longest_stop)]
    assert motion.at_rest
    np.testing.assert_array_equal(motion.position, promised)
    assert exact_violations(np.array(outputs), limits, DT_S) == []


@QUICK
@given(joint_limits(), target_sequences(length=60))
def test_a_joint_that_starts_outside_comes_back_and_never_goes_further_out(
    limits: JointLimits, targets: FloatArray
) -> None:
    motion = MotionFilter(limits, DT_S)
    start = limits.upper + 0.05
    motion.reset(start)
    outputs = np.array([motion.step(target) for target in targets])
    assert (outputs <= start + 1e-11).all()
    for _ in range(600):
        motion.step(0.5 * (limits.lower + limits.upper))
    while not motion.at_rest:
        motion.brake()
    settled = motion.position
    assert ((settled >= limits.lower) & (settled <= limits.upper)).all()
    after = np.array([settled, *(motion.step(np.full(3, 1e3)) for _ in range(200))])
    assert exact_violations(after, limits, DT_S) == []


@QUICK
@given(st.integers(0, 10**9), st.integers(1000, 10**6), st.integers(0, 10**10))
def test_runout_is_the_sum_it_stands_for_and_its_inverse_is_tight(
    x: int, jerk: int, room: int
) -> None:
    x = min(x, 300 * jerk)
    terms, a = 0, x
    while a > 0:
        terms, a = terms + a, a - jerk
    assert runout(x, jerk) == terms
    best = runout_inverse(room, jerk)
    assert runout(best, jerk) <= room < runout(best + 1, jerk)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_reach_bounds_how_far_braking_strays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    v_max, a_max, j_max = np.exp(
        rng.uniform(np.log([1e-3, 1e-4, 1e-6]), np.log([0.1, 0.01, 1e-2]))
    )
    motion = JointMotion(-50.0, 50.0, float(v_max), float(a_max), float(j_max))
    motion.reset(0)
    for _ in range(60):
        low, high = motion.bounds()
        wish = (low, high, int(rng.integers(low, high + 1)))[int(rng.integers(3))]
        motion.apply(motion.allowed(wish))
        path = motion.braking_path(motion.brake())
        reach = motion.reach(motion.v, motion.a)
        assert max(abs(q - motion.q) for q in path) <= reach
        assert motion.longest_stop >= len(path) - 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", ["target", "velocity", "acceleration"])
def test_a_target_that_is_not_finite_is_an_error_that_names_the_joint_and_moves_nothing(
    bad: float, which: str
) -> None:
    motion = MotionFilter(arm_limits(), DT_S)
    motion.reset(np.zeros(3))
    values = {"target": np.zeros(3), "velocity": np.zeros(3), "acceleration": np.zeros(3)}
    values[which][1] = bad
    before = motion.position
    with pytest.raises(NonFiniteCommand, match=r"\bb\b.*not a finite"):
        motion.step(**values)
    with pytest.raises(NonFiniteCommand, match=r"\bb\b"):
        motion.reset(np.array([0.0, bad, 0.0]))
    np.testing.assert_array_equal(motion.position, before)


def test_infinities_of_opposite_sign_do_not_cancel_out() -> None:
    motion = MotionFilter(arm_limits(), DT_S)
    motion.reset(np.zeros(3))
    with pytest.raises(NonFiniteCommand, match="a, b"):
        motion.step(np.array([np.inf, -np.inf, 0.0]))


@pytest.mark.parametrize("row", [0, 1, 2])
def test_samples_that_are_not_finite_are_refused_before_anything_moves(row: int) -> None:
    motion = MotionFilter(arm_limits(), DT_S)
    motion.reset(np.zeros(3))
    samples = np.zeros((3, 3))
    samples[row, 2] = np.nan
    with pytest.raises(NonFiniteCommand, match=r"target: c is not a finite"):
        motion.wishes(samples)
    samples[row] = np.inf, -np.inf, 0.0
    with pytest.raises(NonFiniteCommand, match=r"target: a, b"):
        motion.wishes(samples)


@QUICK
@given(joint_limits(), target_sequences(length=40), st.integers(0, 99))
def test_the_longest_stop_bounds_every_stop(
    limits: JointLimits, targets: FloatArray, seed: int
) -> None:
    gate = Gate(limits, dt_s=DT_S)
    motion = MotionFilter(limits, DT_S)
    motion.reset(np.random.default_rng(seed).uniform(limits.lower, limits.upper))
    for target in targets:
        motion.step(target)
        assert motion.periods_to_stop(10**6) * DT_S <= gate.longest_stop_s


def test_targets_of_the_wrong_number_are_refused() -> None:
    motion = MotionFilter(arm_limits(), DT_S)
    motion.reset(np.zeros(3))
    with pytest.raises(ValueError, match="expected 3 values"):
        motion.step(np.zeros(2))


@pytest.mark.parametrize("distance", [0.005, 0.05, 0.3, 1.0, 1.69])
def test_a_step_is_reached_quickly_without_overshoot_or_ringing(distance: float) -> None:
    motion = MotionFilter(arm_limits(), DT_S)
    motion.reset(np.zeros(3))
    outputs = np.array([motion.step(np.full(3, distance)) for _ in range(200)])[:, 0]
    assert outputs.max() <= distance + 1e-6
    assert (np.diff(outputs) >= -1e-9).all()
    slowest = 0.3 + distance / 2.0
    assert abs(outputs[round(slowest / DT_S)] - distance) < 0.03 * distance


@pytest.mark.parametrize("frequency", [0.2, 0.5, 1.0])
def test_a_smooth_target_with_its_velocity_is_followed_without_lag(frequency: float) -> None:
    motion = MotionFilter(arm_limits(), DT_S)
    w = 2.0 * np.pi * frequency
    amplitude = min(0.5, 8.0 / w**2)
    times = np.arange(-2, 400) * DT_S
    path = amplitude * (1.0 - np.cos(w * times))
    motion.reset(np.zeros(3))
    errors = []
    for k in range(2, len(path)):
        p, v = path[k], (path[k] - path[k - 1]) / DT_S
        a = (path[k] - 2 * path[k - 1] + path[k - 2]) / DT_S**2
        q = motion.step(np.full(3, p), np.full(3, v), np.full(3, a))
        errors.append(abs(q[0] - p))
    assert max(errors[20:]) < 1e-4


def test_the_checker_sees_every_kind_of_violation_and_names_the_joint() -> None:
    limits = arm_limits()
    checker = LimitChecker(limits, DT_S)
    assert checker.observe(np.zeros(3)) == []
    found = {v.quantity for v in checker.observe(np.array([0.0, 2.0, 0.0]))}
    assert found == {"position", "velocity", "acceleration", "jerk"}
    assert "b: finite" in str(checker.observe(np.array([0.0, np.nan, 0.0]))[0])
    assert checker.observe(np.zeros(3)) == []
    assert (checker.commands, checker.violations) == (4, 5)


def arm_limits() -> JointLimits:
    return JointLimits(
        names=NAMES,
        lower=np.full(3, -1.7),
        upper=np.full(3, 1.7),
        velocity=np.full(3, 2.5),
        acceleration=np.full(3, 20.0),
        jerk=np.full(3, 400.0),
    )
