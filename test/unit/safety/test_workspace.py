"""The tool centre point stays inside the workspace, and can always come back inwards."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from vla_ros.contract import RobotContract
from vla_ros.core.limits import WorkspaceBox
from vla_ros.core.types import FloatArray
from vla_ros.safety import GateState, make_checker
from vla_ros.safety.workspace import WorkspaceGuard
from vla_ros.testing.gate_rig import GateRig


def with_box(contract: RobotContract, box: WorkspaceBox) -> RobotContract:
    return replace(contract, action=replace(contract.action, workspace=box))


def tips(arm: GateRig) -> FloatArray:
    return arm.contract.chain().tip_positions(np.array(arm.trace)[:, :5])


@pytest.fixture
def low_arm(contract: RobotContract) -> GateRig:
    """An arm whose box ends 20 mm below its home pose."""
    home_z = float(contract.chain().forward(np.array(contract.home[:5]))[2, 3])
    box = WorkspaceBox(lower=(-0.1, -0.4, home_z - 0.02), upper=(0.5, 0.4, 0.5))
    arm = GateRig(with_box(contract, box))
    arm.tick()
    return arm


def test_a_motion_out_of_the_box_stops_inside_and_names_the_face(
    low_arm: GateRig, home: FloatArray
) -> None:
    down = np.array([0, 0.6, 0, 0, 0, 0.0])
    for k in range(10):
        low_arm.accept(low_arm.chunk(lambda t: home + down * t, begin_s=0.1 * k))
        command = low_arm.run(0.1)
    assert command.state is GateState.HOLD
    assert command.reason.startswith("workspace: tcp z")
    assert "is below" in command.reason
    assert low_arm.gate.at_rest
    assert low_arm.contract.workspace is not None
    floor = low_arm.contract.workspace.lower[2]
    assert floor <= tips(low_arm)[:, 2].min() < floor + 0.01


def test_at_the_face_motion_back_inwards_goes_on(low_arm: GateRig, home: FloatArray) -> None:
    down = np.array([0, 0.6, 0, 0, 0, 0.0])
    low_arm.accept(low_arm.chunk(lambda t: home + down * t))
    low_arm.run(0.6)
    low_arm.accept(low_arm.chunk(home))
    assert low_arm.tick().state is GateState.EXECUTING
    low_arm.run(0.55)
    np.testing.assert_allclose(low_arm.position, home, atol=5e-3)


def test_holding_at_a_face_does_not_chatter(low_arm: GateRig, home: FloatArray) -> None:
    states = []
    for k in range(30):
        target = home + np.array([0, 0.3, 0, 0, 0, 0]) * min(1.0, 0.2 * k)
        low_arm.accept(low_arm.chunk(target))
        states += [low_arm.tick().state for _ in range(5)]
    changes = sum(a is not b for a, b in pairwise(states))
    assert changes <= 2


def test_an_arm_that_starts_outside_may_come_in_but_not_go_further_out(
    contract: RobotContract, home: FloatArray
) -> None:
    tip = contract.chain().forward(home[:5])[:3, 3]
    floor = float(tip[2]) + 0.05
    box = WorkspaceBox(lower=(-0.1, -0.4, floor), upper=(0.5, 0.4, 0.5))
    arm = GateRig(with_box(contract, box))
    arm.tick()
    arm.accept(arm.chunk(lambda t: home + np.array([0, 0.6, 0, 0, 0, 0]) * t))
    command = arm.run(0.5)
    assert command.state is GateState.HOLD
    assert tips(arm)[:, 2].min() >= tip[2] - 0.021
    start = arm.position
    up = np.array([0, -0.8, 0, 0, 0, 0])
    for k in range(12):
        arm.accept(arm.chunk(lambda t: start + up * min(1.0, t), begin_s=0.1 * k))
        arm.run(0.1)
    assert tips(arm)[-1, 2] > floor
    back = arm.position
    for k in range(12):
        arm.accept(arm.chunk(lambda t: back - 0.5 * up * t, begin_s=0.1 * k))
        command = arm.run(0.1)
    assert command.reason.startswith("workspace: tcp z")
    assert tips(arm)[-1, 2] >= floor


def test_a_chain_with_a_joint_that_is_not_commanded_is_refused(contract: RobotContract) -> None:
    assert contract.workspace is not None
    with pytest.raises(ValueError, match="wrist_roll"):
        WorkspaceGuard(contract.workspace, contract.chain(), contract.action.joints[:4])


def test_a_point_that_is_not_finite_is_outside() -> None:
    box = WorkspaceBox(lower=(0, 0, 0), upper=(1, 1, 1))
    assert box.fault(np.array([0.5, np.nan, 0.5])).startswith("tcp y nan")
    assert box.fault(np.array([0.5, 0.5, 0.5])) == ""
    with pytest.raises(ValueError, match="workspace y"):
        WorkspaceBox(lower=(0, 1, 0), upper=(1, 1, 1))


def test_the_checker_names_the_face_that_a_command_lies_beyond(contract: RobotContract) -> None:
    box = WorkspaceBox(lower=(0.0, -0.4, 0.05), upper=(0.5, 0.4, 0.5))
    checker = make_checker(with_box(contract, box))
    home = np.array(contract.home)
    low = home + np.array([0.0, 0.8, 0.0, 0.0, 0.0, 0.0])
    assert contract.chain().tip_positions(low[None, :5])[0][2] < 0.05
    assert checker.observe(home) == []
    broken = [v.quantity for v in checker.observe(low) if v.joint == "tip"]
    assert len(broken) == 1
    assert broken[0].startswith("tcp z")
    assert broken[0].endswith("below 0.050 m")
    checker.reset()
    outside = [v for v in checker.observe(low) if v.joint == "tip"]
    assert outside == [], "a tip that begins outside may come back"
