"""Who has the arm: the policy, an operator, or an operator who has gone silent."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vla_ros.contract import RobotContract
from vla_ros.core.errors import ChunkRejected
from vla_ros.core.types import FloatArray
from vla_ros.safety import Actor, Arbitration, Command, GateState
from vla_ros.testing.gate_rig import GateRig, Path

#: What an operator sends: targets for the next 80 ms.
STEP_S, ROWS = 0.01, 8


class Shared:
    """An arm whose policy goes one way and whose operator goes the other."""

    def __init__(self, contract: RobotContract) -> None:
        self.rig = GateRig(contract)
        self.rig.tick()
        self.arbitration = Arbitration(self.rig.gate)
        self.command: Command | None = None

    def policy(self, speed: float = 0.5, stamp_ns: int | None = None) -> bool:
        """Offer what the policy asks for: 0.6 s with the first joint at a speed [rad/s]."""
        chunk = self.rig.chunk(self.moving(speed), stamp_ns=stamp_ns)
        return self.arbitration.take_policy(chunk, self.rig.now_ns)

    def operator(self, speed: float = -0.5, **changes: Any) -> None:
        chunk = self.rig.chunk(self.moving(speed), step_s=STEP_S, horizon=ROWS)
        self.arbitration.take_operator(replace(chunk, **changes), self.rig.now_ns)

    def moving(self, speed: float) -> Path:
        start = self.rig.position.copy()
        return lambda t: start + speed * t * np.eye(6)[0]

    def run(self, seconds: float) -> Command:
        self.command = self.rig.run(seconds)
        return self.command

    @property
    def actor(self) -> Actor:
        return self.arbitration.actor(self.command)

    def velocity(self) -> FloatArray:
        return (self.rig.trace[-1] - self.rig.trace[-2]) / self.rig.contract.control_period_s


@pytest.fixture
def shared(contract: RobotContract) -> Shared:
    return Shared(contract)


def silent_until_rest_s(shared: Shared) -> float:
    """Return how long the arm goes on when nobody says anything any more [s]."""
    began_ns = shared.rig.now_ns
    for _ in range(100):
        shared.run(0.01)
        if shared.rig.gate.at_rest:
            return (shared.rig.now_ns - began_ns) * 1e-9
    raise AssertionError("the arm moves on")


def test_without_an_operator_the_policy_moves_the_arm(shared: Shared) -> None:
    assert shared.policy()
    shared.run(0.1)
    assert shared.actor is Actor.POLICY


def test_nobody_moves_an_arm_that_is_held(shared: Shared) -> None:
    shared.run(0.1)
    assert shared.actor is Actor.NOBODY


def test_the_first_chunk_of_an_operator_takes_the_arm_from_the_policy(shared: Shared) -> None:
    shared.policy()
    shared.run(0.2)
    for _ in range(20):
        shared.operator()
        assert not shared.policy(), "the policy's chunk was executed"
        shared.run(0.02)
    assert shared.actor is Actor.OPERATOR
    assert shared.velocity()[0] == pytest.approx(-0.5, abs=0.05)


def test_an_operator_who_lets_go_stops_the_arm_until_the_policys_next_chunk(
    shared: Shared,
) -> None:
    shared.operator()
    shared.run(0.02)
    shared.arbitration.let_go(shared.rig.now_ns)
    command = shared.run(0.01)
    assert (command.state, command.reason) == (GateState.HOLD, "the operator has let go")
    assert shared.policy()
    shared.run(0.1)
    assert shared.actor is Actor.POLICY


def test_what_the_policy_made_before_the_operator_let_go_is_refused(shared: Shared) -> None:
    shared.operator()
    before_ns = shared.rig.now_ns
    shared.run(0.05)
    shared.arbitration.let_go(shared.rig.now_ns)
    with pytest.raises(ChunkRejected, match=r"out of date: made 0\.050 s before"):
        shared.policy(stamp_ns=before_ns)
    assert shared.policy(stamp_ns=shared.rig.now_ns)


@pytest.mark.parametrize("speed", [0.3, -1.0, 2.4])
def test_an_operator_who_goes_silent_stops_the_arm_within_a_tenth_of_a_second(
    shared: Shared, speed: float
) -> None:
    for _ in range(25):
        shared.operator(speed)
        shared.run(0.01)
    assert abs(shared.velocity()[0]) > 0.2
    assert silent_until_rest_s(shared) <= 0.1
    assert shared.command is not None
    assert "the operator has gone silent" in shared.command.reason
    assert shared.actor is Actor.NOBODY


def test_silence_stops_the_arm_in_time_whatever_the_operator_asked_for(
    contract: RobotContract,
) -> None:
    random = np.random.default_rng(0)
    for _ in range(60):
        shared, last_ns = Shared(contract), 0
        for tick in range(random.integers(5, 60)):
            if tick % 2 == 0:
                speed = random.uniform(-6.0, 6.0, 6)
                start = shared.rig.position.copy()
                path = functools.partial(lambda start, speed, t: start + t * speed, start, speed)
                chunk = shared.rig.chunk(path, step_s=0.01, horizon=9)
                shared.arbitration.take_operator(chunk, shared.rig.now_ns)
                last_ns = shared.rig.now_ns
            shared.run(0.01)
        while not shared.rig.gate.at_rest:
            shared.run(0.01)
        # at rest since the command before this one
        assert shared.rig.now_ns - 10_000_000 - last_ns <= 100_000_000


def test_a_silent_operator_keeps_the_arm_from_the_policy_until_an_explicit_release(
    shared: Shared,
) -> None:
    shared.operator()
    shared.run(1.0)
    assert not shared.policy()
    assert shared.run(0.1).state is GateState.HOLD
    shared.arbitration.let_go(shared.rig.now_ns)
    assert shared.policy()


def test_a_person_who_resets_the_gate_gives_the_arm_of_a_silent_operator_back(
    shared: Shared,
) -> None:
    shared.operator()
    shared.run(0.05)
    shared.arbitration.let_silent_go(shared.rig.now_ns)
    assert shared.arbitration.engaged, "the operator is still there"
    shared.run(0.5)
    shared.arbitration.let_silent_go(shared.rig.now_ns)
    assert not shared.arbitration.engaged


def test_an_operator_who_is_back_goes_on(shared: Shared) -> None:
    shared.operator()
    shared.run(1.0)
    shared.operator()
    assert shared.run(0.03).state is GateState.EXECUTING
    assert shared.actor is Actor.OPERATOR


def test_letting_go_of_what_one_does_not_have_changes_nothing(shared: Shared) -> None:
    shared.policy()
    before_ns = shared.rig.now_ns
    shared.run(0.05)
    shared.arbitration.let_go(shared.rig.now_ns)
    assert shared.run(0.01).state is GateState.EXECUTING
    assert shared.policy(stamp_ns=before_ns)


def test_a_policy_that_becomes_idle_does_not_stop_the_operator(shared: Shared) -> None:
    shared.operator()
    shared.arbitration.idle()
    assert shared.run(0.02).state is GateState.EXECUTING


def test_an_operators_chunk_that_lasts_too_long_holds_the_arm_and_says_so(shared: Shared) -> None:
    shared.policy()
    shared.run(0.1)
    with pytest.raises(ChunkRejected, match=r"lasts 0\.150 s from now, at most 0\.09 s"):
        shared.operator(stamp_ns=shared.rig.now_ns + 70_000_000)
    assert shared.run(0.01).state is GateState.HOLD
    assert not shared.policy()


@pytest.mark.parametrize("step_s", [float("inf"), float("nan"), -1.0, 0.0, 1e300])
def test_an_operators_chunk_without_a_sensible_step_is_refused_and_the_arm_held(
    shared: Shared, step_s: float
) -> None:
    shared.policy()
    shared.run(0.1)
    with pytest.raises(ChunkRejected):
        shared.operator(step_s=step_s)
    assert shared.run(0.01).state is GateState.HOLD


def test_an_operator_who_asks_for_the_impossible_takes_the_arm_all_the_same(
    shared: Shared, home: FloatArray
) -> None:
    shared.policy()
    shared.run(0.1)
    far = np.repeat(home[None] + 1.7, ROWS, axis=0)
    with pytest.raises(ChunkRejected, match=r"at most .* apart is allowed"):
        shared.operator(positions=far)
    command = shared.run(0.01)
    assert command.state is GateState.HOLD
    assert command.reason == "the operator has the arm, and what was asked for was refused"


def test_a_late_message_of_an_operator_does_not_take_the_arm_again(shared: Shared) -> None:
    shared.operator()
    late_ns = shared.rig.now_ns
    shared.run(0.02)
    shared.arbitration.let_go(shared.rig.now_ns)
    with pytest.raises(ChunkRejected, match="out of date"):
        shared.operator(stamp_ns=late_ns)
    assert not shared.arbitration.engaged
    shared.run(1.0)
    with pytest.raises(ChunkRejected, match="stale"):
        shared.operator(stamp_ns=late_ns)
    assert not shared.arbitration.engaged


def test_a_policys_newer_stamp_does_not_put_the_operator_out_of_date(shared: Shared) -> None:
    shared.policy()
    earlier_ns = shared.rig.now_ns - 20_000_000
    shared.operator(stamp_ns=earlier_ns)
    assert shared.run(0.02).state is GateState.EXECUTING
    assert shared.actor is Actor.OPERATOR


def test_the_emergency_stop_stops_the_operator_who_keeps_the_arm_after_the_reset(
    shared: Shared,
) -> None:
    for _ in range(10):
        shared.operator()
        shared.run(0.02)
    shared.rig.gate.estop(True)
    with pytest.raises(ChunkRejected, match="the emergency stop is engaged"):
        shared.operator()
    assert shared.run(0.3).state is GateState.ESTOP
    shared.rig.gate.estop(False)
    shared.rig.gate.reset(shared.rig.position, shared.rig.now_ns)
    assert not shared.policy()
    shared.operator()
    assert shared.run(0.02).state is GateState.EXECUTING


def test_limits_and_workspace_hold_for_the_operator(shared: Shared) -> None:
    down = 0.5 * (np.eye(6)[1] - np.eye(6)[3])  # the arm leans forward, stretched [rad/s]
    reasons = set()
    for _ in range(300):
        start = shared.rig.position.copy()
        path = functools.partial(lambda start, t: start + t * down, start)
        chunk = shared.rig.chunk(path, step_s=STEP_S, horizon=ROWS)
        shared.arbitration.take_operator(chunk, shared.rig.now_ns)
        reasons.add(shared.run(0.02).reason)  # the rig lets no violation pass
    assert any(reason.startswith("workspace: tcp z") for reason in reasons), reasons
