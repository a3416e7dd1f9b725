"""The gate executes chunks by time, blends them, and holds when they end."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.contract import RobotContract
from vla_ros.core.errors import ChunkRejected
from vla_ros.core.types import FloatArray
from vla_ros.safety import GateState
from vla_ros.testing.gate_rig import GateRig, Path

PERIOD_NS = 10_000_000


def swing(home: FloatArray, amplitude: float, rate: float, t: float) -> FloatArray:
    return np.asarray(home + amplitude * (1.0 - np.cos(rate * t)) * np.array([1, 1, -1, -1, 1, 1]))


def approach(home: FloatArray, offset: FloatArray) -> Path:
    return lambda t: np.asarray(home + offset * (1.0 - np.exp(-3.0 * t)))


def test_chunks_that_agree_are_followed_with_less_than_five_milliseconds_of_lag(
    arm: GateRig, home: FloatArray
) -> None:
    start_ns, errors = arm.now_ns, []
    for k in range(300):
        t = (arm.now_ns - start_ns) * 1e-9
        if k % 4 == 0:
            made = t - 0.04  # the policy took 40 ms
            stamp_ns = arm.now_ns - 40_000_000
            arm.accept(
                arm.chunk(lambda t: swing(home, 0.15, 3.0, t), stamp_ns=stamp_ns, begin_s=made)
            )
        command = arm.tick()
        t = (arm.now_ns - start_ns) * 1e-9
        speed = 0.15 * 3.0
        errors.append(np.abs(arm.position - swing(home, 0.15, 3.0, t)).max() / speed)
    assert command.state is GateState.EXECUTING
    assert max(errors[50:]) < 0.005


def test_rows_are_reached_at_their_times(arm: GateRig, home: FloatArray) -> None:
    arm.accept(arm.chunk(lambda t: home + 0.2 * t))
    stamp_ns = arm.now_ns
    arm.run(0.4)
    elapsed = (arm.now_ns - stamp_ns) * 1e-9
    np.testing.assert_allclose(arm.position, home + 0.2 * elapsed, atol=0.002)


def test_a_chunk_that_runs_out_leaves_the_arm_at_rest_when_it_ends_and_says_why(
    arm: GateRig, home: FloatArray
) -> None:
    arm.accept(arm.chunk(lambda t: home + 1.0 * t * np.array([1, 1, -1, 0, 1, 0])))
    end_ns = arm.now_ns + 600_000_000
    command = arm.tick()
    assert (command.state, command.reason) == (GateState.EXECUTING, "")
    while arm.now_ns < end_ns:
        command = arm.tick()
    assert arm.gate.at_rest
    assert (command.state, command.reason) == (GateState.HOLD, "the chunk ran out")
    held = arm.position
    arm.run(0.5)
    np.testing.assert_array_equal(arm.position, held)
    assert arm.gate.chunk_remaining_s(arm.now_ns) == 0.0


def test_a_slow_chunk_is_executed_to_its_last_row(arm: GateRig, home: FloatArray) -> None:
    target = home + 0.05
    arm.accept(arm.chunk(target))
    arm.run(1.0)
    np.testing.assert_allclose(arm.position, target, atol=2e-3)


def test_a_new_chunk_takes_over_without_a_jump_however_much_it_disagrees(
    arm: GateRig, home: FloatArray
) -> None:
    rng = np.random.default_rng(3)
    for _ in range(60):
        arm.accept(arm.chunk(approach(home, rng.uniform(-0.4, 0.4, 6))))
        for _ in range(int(rng.integers(1, 12))):
            arm.tick()
    assert arm.checker.violations == 0
    assert arm.checker.commands > 200


def test_disagreeing_chunks_are_averaged_and_never_amplified(
    arm: GateRig, home: FloatArray
) -> None:
    rng, noise = np.random.default_rng(0), 0.02
    for k in range(600):
        if k % 3 == 0:
            arm.accept(arm.chunk(home + rng.normal(0, noise, 6)))
        arm.tick()
    assert (np.array(arm.trace[100:]) - home).std() < noise


def test_a_gripper_that_closes_in_one_row_does_not_overshoot(
    arm: GateRig, home: FloatArray
) -> None:
    closed = home.copy()
    closed[5] = 0.0
    arm.accept(arm.chunk(lambda t: home if t < 0.3 else closed, horizon=24))
    arm.run(1.15)
    gripper = np.array(arm.trace)[:, 5]
    assert gripper.min() > -0.01
    assert abs(gripper[-1]) < 0.01


def test_rows_beyond_the_limits_are_executed_up_to_the_limit(
    arm: GateRig, contract: RobotContract, home: FloatArray
) -> None:
    target = home.copy()
    target[5] = 5.0
    for _ in range(4):
        arm.accept(arm.chunk(target))
        arm.run(0.3)
    assert abs(arm.position[5] - contract.limits.upper[5]) < 1e-3


def test_ticks_that_come_late_or_early_do_not_disturb_the_motion(
    arm: GateRig, home: FloatArray
) -> None:
    rng, start_ns = np.random.default_rng(1), arm.now_ns
    for k in range(200):
        if k % 5 == 0:
            t0 = (arm.now_ns - start_ns) * 1e-9
            arm.accept(arm.chunk(lambda t: swing(home, 0.1, 3.0, t), begin_s=t0))
        arm.now_ns = start_ns + k * PERIOD_NS + int(rng.uniform(-3e6, 3e6))
        arm.tick()
    acceleration = np.diff(np.array(arm.trace[50:]), n=2, axis=0) * 1e4
    assert np.abs(acceleration).max() < 8.0  # of 20 allowed; the swing itself reaches 0.9


def test_a_chunk_with_its_joints_in_another_order_is_put_in_order(
    arm: GateRig, home: FloatArray
) -> None:
    target = home + np.array([0.02, 0.04, -0.02, -0.04, 0.06, 0.1])
    chunk = arm.chunk(target)
    arm.accept(
        replace(chunk, joint_names=chunk.joint_names[::-1], positions=chunk.positions[:, ::-1])
    )
    arm.run(0.6)
    np.testing.assert_allclose(arm.position, target, atol=3e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_stream_of_chunks_and_faults_makes_the_gate_break_a_limit_or_leave_the_box(
    contract: RobotContract, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    arm = GateRig(contract)
    arm.tick()
    chain, box, home = contract.chain(), contract.workspace, np.array(contract.home)
    assert box is not None
    columns = [contract.action.joints.index(name) for name in chain.names]
    for _ in range(25):
        spread, jump = rng.choice([0.05, 0.5, 2.0]), rng.random()
        rows = home + np.cumsum(rng.normal(0, spread / 3, (int(rng.integers(1, 15)), 6)), axis=0)
        rows[:1] += arm.position - home
        stamp_ns = arm.now_ns - int(rng.uniform(0, 2e8))
        chunk = replace(arm.chunk(home, stamp_ns=stamp_ns), positions=rows)
        with suppress(ChunkRejected):
            arm.accept(chunk)
        if jump < 0.1:
            arm.gate.estop(True)
        for _ in range(int(rng.integers(1, 30))):
            arm.tick(blind=bool(rng.random() < 0.02))
        if jump < 0.1:
            while not arm.gate.at_rest:
                arm.tick()
            arm.gate.estop(False)
            arm.gate.reset(arm.position, arm.now_ns)
    trace = np.array(arm.trace)
    tips = chain.tip_positions(trace[:, columns])
    assert ((tips >= box.lower) & (tips <= box.upper)).all()
