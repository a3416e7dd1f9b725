"""What happens to a gate between two ticks: stops, absences, and chunks that make no sense."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.contract import load_contract
from vla_ros.core.types import ActionChunk, FloatArray
from vla_ros.ros.gate_driver import GateDriver, Measured
from vla_ros.safety import Command, GateState, make_gate

CONTRACT = load_contract("tabletop_sim")
HOME = np.array(CONTRACT.home)
PERIOD_NS = 10_000_000


class Driven:
    """A driver whose clock is stepped by hand."""

    def __init__(self) -> None:
        self.driver = GateDriver(make_gate(CONTRACT))
        self.now_ns = 1_000_000_000_000

    def tick(self, measured: FloatArray = HOME, after_s: float = 0.01) -> Command:
        self.now_ns += round(after_s * 1e9)
        self.driver.measured = Measured(measured, self.now_ns)
        return self.driver.tick(self.now_ns)

    def offer(self, target: FloatArray, step_s: float = 0.05) -> None:
        self.driver.offer(
            ActionChunk(
                stamp_ns=self.now_ns,
                step_s=step_s,
                joint_names=CONTRACT.action.joints,
                positions=np.repeat(target[None], 12, axis=0),
            )
        )


@pytest.fixture
def arm() -> Driven:
    driven = Driven()
    driven.tick()
    return driven


def commanded(arm: Driven) -> FloatArray:
    command = arm.driver.gate.command
    assert command is not None
    return command


def moved(joint: int, by: float) -> FloatArray:
    """Return the home pose with one joint moved [rad]."""
    pose = HOME.copy()
    pose[joint] += by
    return pose


def test_a_press_that_is_shorter_than_a_period_stops_and_is_latched(arm: Driven) -> None:
    arm.offer(moved(0, 0.2))
    assert arm.tick().state is GateState.EXECUTING
    arm.driver.press(True)
    arm.driver.press(False)
    assert arm.driver.stopped
    assert arm.tick().state is GateState.ESTOP
    arm.offer(moved(0, 0.2))
    assert arm.tick().state is GateState.ESTOP


@pytest.mark.parametrize("step_s", [1e300, 1e6, 1.0])
def test_a_chunk_of_an_absurd_duration_is_refused_and_the_gate_goes_on(
    arm: Driven, step_s: float
) -> None:
    arm.offer(HOME, step_s)
    assert arm.tick().state is GateState.HOLD
    assert "that a chunk may last" in arm.driver.chunk_fault
    arm.offer(moved(0, 0.1))
    assert arm.tick().state is GateState.EXECUTING


def test_an_arm_that_was_carried_off_while_away_is_taken_up_where_it_is(arm: Driven) -> None:
    away = moved(0, 0.5)
    arm.tick(away, after_s=0.3)
    np.testing.assert_allclose(commanded(arm), away, atol=1e-9)


def test_a_gap_alone_does_not_open_a_gripper_that_holds_something(arm: Driven) -> None:
    holding = moved(5, 0.4)  # the fingers cannot close as far as they are told to
    arm.tick(holding)
    arm.tick(holding, after_s=0.3)
    np.testing.assert_allclose(commanded(arm), HOME, atol=1e-9)


def test_a_stopped_arm_that_comes_back_elsewhere_stays_stopped(arm: Driven) -> None:
    arm.driver.press(True)
    arm.tick()
    assert arm.tick(moved(0, 0.5), after_s=0.3).state is GateState.ESTOP
