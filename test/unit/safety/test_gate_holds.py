"""The gate holds, with a reason, whenever anything is missing, stale or wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vla_ros.contract import RobotContract
from vla_ros.core.errors import (
    ChunkRejected,
    EmergencyStopEngaged,
    NonFiniteCommand,
    SafetyError,
)
from vla_ros.core.types import FloatArray
from vla_ros.safety import Gate, GateConfig, GateState, make_gate
from vla_ros.testing.gate_rig import GateRig

PERIOD_NS = 10_000_000


def moving(arm: GateRig, home: FloatArray) -> None:
    """Bring the arm into motion."""
    arm.accept(arm.chunk(lambda t: home + 0.5 * t * np.array([1, 0, 0, 0, 1, 1]), horizon=40))
    arm.run(0.3)
    assert not arm.gate.at_rest


def test_before_the_first_joint_state_nothing_is_sent(contract: RobotContract) -> None:
    gate = make_gate(contract)
    command = gate.tick(0, None)
    assert command.positions is None
    assert (command.state, command.reason) == (GateState.HOLD, "no joint state")


def test_the_first_joint_state_is_the_first_command(arm: GateRig, home: FloatArray) -> None:
    np.testing.assert_allclose(arm.position, home, atol=1e-11)


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (None, "no joint state"),
        (np.full(6, np.nan), "the joint state of shoulder_pan is nan"),
        (np.array([0, 0, np.inf, 0, 0, 0.0]), "the joint state of elbow_flex is inf"),
        (
            np.array([0, 1e12, 0, 0, 0, 0.0]),
            "the joint state of shoulder_lift is 1e+12 rad, more than a turn outside its limits",
        ),
        (np.zeros(5), "the joint state has shape (5,), expected (6,)"),
        (np.zeros(0), "the joint state has shape (0,), expected (6,)"),
    ],
)
def test_a_bad_joint_state_brakes_the_arm_and_is_named(
    arm: GateRig, home: FloatArray, measured: FloatArray | None, reason: str
) -> None:
    moving(arm, home)
    command = arm.tick(measured, blind=measured is None)
    assert command.state is GateState.HOLD
    assert command.reason.startswith(reason)
    for _ in range(25):
        arm.tick(measured, blind=measured is None)
    assert arm.gate.at_rest


def test_a_stale_joint_state_holds_the_arm_and_tells_its_age(
    arm: GateRig, home: FloatArray
) -> None:
    moving(arm, home)
    arm.now_ns += PERIOD_NS
    command = arm.gate.tick(arm.now_ns, arm.position, arm.now_ns - 150_000_000)
    assert command.state is GateState.HOLD
    assert command.reason == "the joint state is 0.150 s old, at most 0.100 s is allowed"


def test_a_joint_state_from_the_future_holds_the_arm_and_asks_for_the_clocks(
    arm: GateRig, home: FloatArray
) -> None:
    moving(arm, home)
    arm.now_ns += PERIOD_NS
    command = arm.gate.tick(arm.now_ns, arm.position, arm.now_ns + 200_000_000)
    assert command.state is GateState.HOLD
    assert command.reason == (
        "the joint state is 0.200 s from the future, at most 0.050 s is allowed;"
        " do the clocks agree?"
    )


@pytest.mark.parametrize("value", [1e12, -1e300, 90.0])
def test_a_first_joint_state_that_no_joint_can_have_sends_nothing(
    contract: RobotContract, home: FloatArray, value: float
) -> None:
    gate = make_gate(contract)
    measured = home.copy()
    measured[2] = value
    command = gate.tick(0, measured)
    assert command.positions is None
    assert command.reason == (
        f"the joint state of elbow_flex is {value:.4g} rad, more than a turn outside its limits"
        " -1.69 to 1.69 rad; does the driver publish radians?"
    )


def test_the_arm_goes_on_when_the_joint_state_comes_back(arm: GateRig, home: FloatArray) -> None:
    moving(arm, home)
    for _ in range(10):
        arm.tick(blind=True)
    assert arm.tick().state is GateState.EXECUTING
    arm.run(0.6)
    np.testing.assert_allclose(arm.position[0], home[0] + 0.5 * 1.01, atol=0.03)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"joint_names": ("a", "b", "c", "d", "e", "f")}, "joints: expected shoulder_pan"),
        ({"joint_names": ()}, "got none"),
        ({"positions": np.zeros((0, 6))}, "one row or more of 6 joints, got shape (0, 6)"),
        ({"positions": np.zeros((3, 5))}, "got shape (3, 5)"),
        ({"positions": np.zeros(6)}, "got shape (6,)"),
        ({"positions": np.full((2, 6), np.nan)}, "shoulder_pan: row 0 is not finite (nan)"),
        ({"positions": np.full((2, 6), np.inf)}, "shoulder_pan: row 0 is not finite (inf)"),
        ({"step_s": 0.0}, "step_s: expected 0.001 s or more, got 0"),
        ({"step_s": 1e-320}, "step_s: expected 0.001 s or more, got 9.99989e-321"),
        ({"step_s": np.nan}, "step_s: expected 0.001 s or more, got nan"),
        ({"step_s": np.inf}, "step_s: expected 0.001 s or more, got inf"),
    ],
)
def test_a_malformed_chunk_is_rejected_with_the_reason_and_the_old_one_goes_on(
    arm: GateRig, home: FloatArray, change: dict[str, Any], reason: str
) -> None:
    moving(arm, home)
    old = arm.gate.chunk
    with pytest.raises(ChunkRejected) as caught:
        arm.accept(replace(arm.chunk(home), **change))
    assert reason in caught.value.reason
    assert arm.gate.chunk is old
    assert arm.gate.rejected_chunks == 1
    assert arm.tick().state is GateState.EXECUTING


@pytest.mark.parametrize(
    ("offset_s", "reason"),
    [
        (-0.7, "the chunk is stale: 0.700 s old, at most 0.500 s is allowed"),
        (0.2, "the chunk is from the future: 0.200 s ahead"),
    ],
)
def test_a_chunk_from_the_wrong_time_is_rejected(
    arm: GateRig, home: FloatArray, offset_s: float, reason: str
) -> None:
    chunk = arm.chunk(home, stamp_ns=arm.now_ns + round(offset_s * 1e9), horizon=40)
    with pytest.raises(ChunkRejected, match=reason):
        arm.accept(chunk)


def test_a_chunk_that_is_already_over_is_rejected(arm: GateRig, home: FloatArray) -> None:
    with pytest.raises(ChunkRejected, match=r"the chunk ended 0\.100 s ago"):
        arm.accept(arm.chunk(home, stamp_ns=arm.now_ns - 200_000_000, horizon=2))


def test_chunks_that_arrive_out_of_order_are_rejected(arm: GateRig, home: FloatArray) -> None:
    arm.run(0.2)
    arm.accept(arm.chunk(home))
    with pytest.raises(ChunkRejected, match=r"out of date: made 0\.050 s before"):
        arm.accept(arm.chunk(home, stamp_ns=arm.now_ns - 50_000_000))


def test_a_chunk_far_from_the_arm_is_rejected_and_names_the_joint(
    arm: GateRig, home: FloatArray
) -> None:
    far = home.copy()
    far[1] += 1.5
    with pytest.raises(ChunkRejected, match=r"shoulder_lift: the chunk begins at 0\.550 rad"):
        arm.accept(arm.chunk(far))


def test_a_chunk_before_the_first_joint_state_is_rejected(contract: RobotContract) -> None:
    arm = GateRig(contract)
    with pytest.raises(ChunkRejected, match="no joint state has come yet"):
        arm.accept(arm.chunk(np.array(contract.home)))


def test_the_emergency_stop_brakes_at_once_and_stays_latched_until_reset(
    arm: GateRig, home: FloatArray
) -> None:
    moving(arm, home)
    arm.gate.estop(True)
    command = arm.tick()
    assert (command.state, command.reason) == (GateState.ESTOP, "emergency stop")
    arm.run(0.2)
    assert arm.gate.at_rest
    arm.gate.estop(False)
    assert arm.tick().state is GateState.ESTOP
    with pytest.raises(ChunkRejected, match="emergency stop"):
        arm.accept(arm.chunk(home))
    arm.gate.reset(arm.position)
    assert arm.tick().state is GateState.HOLD
    arm.accept(arm.chunk(arm.position))
    assert arm.tick().state is GateState.EXECUTING


def test_a_pressed_emergency_stop_cannot_be_reset(arm: GateRig) -> None:
    arm.gate.estop(True)
    with pytest.raises(EmergencyStopEngaged, match="release"):
        arm.gate.reset(arm.position)
    assert arm.tick().state is GateState.ESTOP


def test_a_moving_arm_cannot_begin_anew(arm: GateRig, home: FloatArray) -> None:
    moving(arm, home)
    lagging = arm.position - 0.06
    with pytest.raises(SafetyError, match="the arm still moves: it can begin anew when it stands"):
        arm.gate.reset(lagging, arm.now_ns)
    assert arm.tick().state is GateState.EXECUTING


def test_an_emergency_stop_before_the_first_joint_state_is_kept(contract: RobotContract) -> None:
    gate = make_gate(contract)
    gate.estop(True)
    assert gate.tick(0, None).state is GateState.ESTOP
    assert gate.tick(PERIOD_NS, np.array(contract.home)).state is GateState.ESTOP


def test_after_a_reset_chunks_made_before_it_are_rejected(arm: GateRig, home: FloatArray) -> None:
    chunk = arm.chunk(home)
    arm.run(0.1)
    arm.gate.reset(arm.position, arm.now_ns)
    with pytest.raises(ChunkRejected, match="before the newest chunk or the last reset"):
        arm.accept(chunk)


def test_a_reset_to_a_position_that_is_not_finite_changes_nothing(arm: GateRig) -> None:
    before = arm.gate.command
    with pytest.raises(NonFiniteCommand, match="elbow_flex"):
        arm.gate.reset(np.array([0, 0, np.nan, 0, 0, 0]))
    np.testing.assert_array_equal(arm.gate.command, before)


def test_dropping_the_chunk_brakes_with_the_given_reason(arm: GateRig, home: FloatArray) -> None:
    moving(arm, home)
    arm.gate.drop_chunk("the goal was canceled")
    command = arm.tick()
    assert (command.state, command.reason) == (GateState.HOLD, "the goal was canceled")
    arm.run(0.2)
    assert arm.gate.at_rest


def test_a_clock_that_goes_backwards_holds_the_arm(arm: GateRig, home: FloatArray) -> None:
    moving(arm, home)
    arm.now_ns -= 5_000_000_000
    command = arm.tick()
    assert (command.state, command.reason) == (GateState.HOLD, "the clock went backwards")
    arm.run(0.2)
    arm.accept(arm.chunk(arm.position))
    assert arm.tick().state is GateState.EXECUTING


def test_an_arm_that_does_not_follow_is_held_and_the_joint_is_named(
    contract: RobotContract, home: FloatArray
) -> None:
    joints = tuple(replace(j, following_error=0.3) for j in contract.action.joint_specs)
    arm = GateRig(replace(contract, action=replace(contract.action, joint_specs=joints)))
    arm.tick()
    arm.accept(arm.chunk(lambda t: home + t, horizon=40))
    commands = [arm.tick(home) for _ in range(60)]
    assert commands[10].state is GateState.EXECUTING
    assert commands[-1].state is GateState.HOLD
    assert "is 0.3" in commands[-1].reason
    assert "reset the gate" in commands[-1].reason


def test_a_config_with_a_time_of_zero_or_nan_is_refused() -> None:
    for bad in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="blend_s must be above 0"):
            GateConfig(blend_s=bad)


def test_a_workspace_without_a_chain_is_refused(contract: RobotContract) -> None:
    with pytest.raises(ValueError, match="a workspace needs the chain"):
        Gate(contract.limits, contract.workspace)
