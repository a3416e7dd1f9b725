"""What happens to a gate between two ticks: stops, absences, and chunks that make no sense."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.contract import load_contract
from vla_ros.core.types import ActionChunk, FloatArray
from vla_ros.ros.gate_driver import GateDriver, Measured
from vla_ros.ros.gate_reports import gate_findings, write_status
from vla_ros.ros.periodic import Jitter
from vla_ros.safety import Actor, Command, GateState, make_checker, make_gate

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

    def reason(self, state_fault: str = "") -> str:
        """Return what `gate/status` says."""
        jitter = Jitter().summarize()
        return str(write_status(self.driver, self.now_ns, jitter, state_fault).reason)

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
    arm.driver.press(True, "topic")
    arm.driver.press(False, "topic")
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


@pytest.mark.parametrize("step_s", [1e-320, 1e-12, 0.0])
def test_a_chunk_of_a_vanishing_step_from_a_little_ahead_is_refused_and_the_gate_goes_on(
    arm: Driven, step_s: float
) -> None:
    arm.now_ns += 40_000_000
    arm.offer(HOME, step_s)
    arm.now_ns -= 40_000_000
    assert arm.tick().state is GateState.HOLD
    assert "step_s: expected 0.001 s or more" in arm.driver.chunk_fault


def test_a_first_joint_state_that_no_joint_can_have_does_not_end_the_gate() -> None:
    arm = Driven()
    assert arm.tick(moved(1, 1e12)).positions is None
    arm.tick()
    np.testing.assert_allclose(commanded(arm), HOME, atol=1e-9)


def test_an_arm_that_comes_back_where_no_joint_can_be_is_held_until_it_makes_sense(
    arm: Driven,
) -> None:
    assert "more than a turn outside" in arm.tick(moved(0, 1e12), after_s=0.3).reason
    arm.tick()
    np.testing.assert_allclose(commanded(arm), HOME, atol=1e-9)


class LaggingArm:
    """Follows commands 40 ms late, and checks every command but the one that begins anew."""

    def __init__(self, arm: Driven) -> None:
        self.arm, self.sent = arm, [HOME] * 5
        self.checker = make_checker(CONTRACT)
        self.checker.observe(commanded(arm))
        self.answers: list[str] = []

    def tick(self) -> Command:
        command = self.arm.tick(self.sent[-5])
        assert command.positions is not None
        if self.answers == [""]:
            self.checker.reset()
        assert self.checker.observe(command.positions) == []
        self.sent.append(command.positions)
        return command

    def swing(self) -> None:
        """Get the first joint to 1.6 rad/s."""
        start = self.arm.now_ns
        for tick in range(40):
            if tick % 5 == 0:
                begun = (self.arm.now_ns - start) * 1e-9
                rows = [moved(0, 1.6 * (begun + 0.05 * k)) for k in range(1, 13)]
                self.arm.driver.offer(
                    ActionChunk(
                        stamp_ns=self.arm.now_ns,
                        step_s=0.05,
                        joint_names=CONTRACT.action.joints,
                        positions=np.array(rows),
                    )
                )
            self.tick()
        assert (self.sent[-1] - self.sent[-2])[0] > 0.015


@pytest.mark.parametrize("stopped", [True, False])
def test_a_reset_of_a_moving_arm_waits_until_it_stands_still(arm: Driven, stopped: bool) -> None:
    lagging = LaggingArm(arm)
    lagging.swing()
    if stopped:
        arm.driver.press(True, "topic")
        lagging.tick()
        arm.driver.press(False, "topic")
    arm.driver.reset(lagging.answers.append)
    lagging.tick()
    assert lagging.answers == []
    for _ in range(100):
        arm.offer(moved(0, 1.0))  # nothing is executed meanwhile
        lagging.tick()
        if lagging.answers:
            break
    assert lagging.answers == [""]
    assert arm.driver.gate.at_rest
    np.testing.assert_allclose(commanded(arm), lagging.sent[-6], atol=1e-9)
    assert not arm.driver.gate.stopped


def test_a_reset_says_what_is_wrong_with_the_joint_states(arm: Driven) -> None:
    answers: list[str] = []
    arm.driver.reset(answers.append)
    arm.now_ns += 500_000_000
    arm.driver.tick(arm.now_ns)
    assert answers == ["the joint state is 0.500 s old, at most 0.100 s is allowed"]


def test_a_pressed_stop_cannot_be_reset(arm: Driven) -> None:
    answers: list[str] = []
    arm.driver.press(True, "service")
    arm.driver.reset(answers.append)
    assert arm.tick().state is GateState.ESTOP
    assert answers == ["release the emergency stop before the reset"]


def test_a_button_that_repeats_its_state_does_not_release_another_one(arm: Driven) -> None:
    answers: list[str] = []
    arm.driver.press(True, "service")
    arm.driver.press(False, "topic")
    assert arm.driver.pressed
    arm.driver.reset(answers.append)
    arm.tick()
    assert answers == ["release the emergency stop before the reset"]
    arm.driver.press(False, "service")
    arm.driver.reset(answers.append)
    arm.tick()
    assert answers[1:] == [""]


def test_an_arm_that_brakes_while_it_is_carried_off_begins_anew_at_rest(arm: Driven) -> None:
    lagging = LaggingArm(arm)
    lagging.swing()
    speed = abs(lagging.sent[-1] - lagging.sent[-2])[0]
    away = moved(0, -1.0)
    command = arm.tick(away, after_s=0.3)
    assert command.positions is not None
    assert abs(command.positions - lagging.sent[-1])[0] < speed
    for _ in range(100):
        if np.allclose(commanded(arm), away, atol=1e-9):
            return
        at_rest = arm.driver.gate.at_rest
        arm.tick(away)
    pytest.fail(f"it is at {commanded(arm)}, at rest: {at_rest}")


def test_a_rejected_chunk_is_forgotten_when_the_policy_is_idle_or_the_gate_is_reset(
    arm: Driven,
) -> None:
    for forget in (arm.driver.idle, lambda: arm.driver.reset(lambda _: None)):
        arm.offer(np.full(6, np.nan))
        arm.tick()
        assert "the last chunk was rejected: shoulder_pan: row 0 is not finite" in arm.reason()
        forget()
        arm.tick()
        assert "rejected" not in arm.reason()
        finding = gate_findings(arm.driver, Jitter().summarize(), 0.01)[0]
        assert (finding.name, finding.message) == ("policy/chunk", "ok")


def test_an_emergency_stop_is_not_hidden_by_what_is_wrong_with_the_joint_states(
    arm: Driven,
) -> None:
    arm.driver.press(True, "topic")
    arm.tick()
    assert arm.reason("/joint_states: stale") == "emergency stop; /joint_states: stale"
    assert arm.reason() == "emergency stop"


def test_a_bug_brings_the_arm_to_rest_before_it_ends_the_gate(
    arm: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    lagging = LaggingArm(arm)
    lagging.swing()

    def fail(*_: object, **__: object) -> None:
        raise OverflowError("a bug")

    monkeypatch.setattr(arm.driver.gate, "accept", fail)
    arm.offer(HOME)
    for _ in range(100):
        try:
            lagging.tick()
        except OverflowError:
            assert arm.driver.gate.at_rest
            assert arm.driver.brake(timeout_s=0.0)
            return
    pytest.fail("the bug was swallowed")


def test_a_gate_that_is_stopped_answers_those_who_wait_for_a_reset(arm: Driven) -> None:
    answers: list[str] = []
    arm.driver.brake(timeout_s=0.0)
    arm.driver.reset(answers.append)
    arm.tick()
    assert answers == ["the gate is being stopped"]


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
    arm.driver.press(True, "topic")
    arm.tick()
    assert arm.tick(moved(0, 0.5), after_s=0.3).state is GateState.ESTOP


def word(arm: Driven, offset: float = 0.02) -> ActionChunk:
    """Return what an operator sends: 80 ms with the first joint at an offset [rad]."""
    return ActionChunk(
        stamp_ns=arm.now_ns,
        step_s=0.01,
        joint_names=CONTRACT.action.joints,
        positions=np.repeat(moved(0, offset)[None], 8, axis=0),
    )


def test_an_operator_who_lets_go_and_takes_the_arm_at_once_has_it_with_the_next_word(
    arm: Driven,
) -> None:
    arm.driver.operate(word(arm))
    arm.tick()
    arm.driver.operate(None)
    arm.driver.operate(word(arm))  # older than the tick in which the gate lets go
    arm.tick()
    assert str(arm.driver.actor) == ""
    arm.driver.operate(word(arm))
    arm.tick()
    assert str(arm.driver.actor) == "operator"


def test_an_operator_who_takes_the_arm_and_lets_go_between_two_ticks_does_not_have_it(
    arm: Driven,
) -> None:
    arm.driver.operate(word(arm))
    arm.driver.operate(None)
    arm.tick()
    arm.offer(moved(0, 0.2))
    arm.tick()
    assert arm.driver.actor is Actor.POLICY


def test_the_status_says_who_acts_and_why_an_operators_chunk_was_refused(arm: Driven) -> None:
    arm.driver.operate(word(arm))
    arm.tick()
    status = write_status(arm.driver, arm.now_ns, Jitter().summarize(), "")
    assert status.actor == "operator"
    for _ in range(10):
        arm.tick()
    arm.driver.operate(word(arm, offset=1.7))
    arm.tick()
    assert "the operator's last chunk was rejected: shoulder_pan: the chunk begins" in arm.reason()
    finding = gate_findings(arm.driver, Jitter().summarize(), 0.01)[1]
    assert finding.name == "teleop/command"
    assert "shoulder_pan" in finding.message


@pytest.mark.parametrize("silent", [True, False])
def test_a_reset_gives_back_the_arm_of_an_operator_who_is_gone_and_of_no_other(
    arm: Driven, silent: bool
) -> None:
    answers: list[str] = []
    for tick in range(40):
        if tick < 20 or not silent:
            arm.driver.operate(word(arm, offset=0.0))
        if tick == 30:
            arm.driver.reset(answers.append)
        arm.tick()
    assert answers == [""]
    assert arm.driver.arbitration.engaged != silent


def test_a_gate_that_begins_anew_does_not_lose_that_the_operator_lets_go(arm: Driven) -> None:
    arm.driver.operate(word(arm))
    arm.tick()
    arm.driver.reset(lambda _: None)
    arm.driver.operate(None)
    arm.tick()
    assert not arm.driver.arbitration.engaged


def test_the_reset_of_a_stop_does_not_give_the_policy_an_arm_that_an_operator_has(
    arm: Driven,
) -> None:
    arm.driver.operate(word(arm, offset=0.0))
    arm.tick()
    arm.driver.press(True, "button")
    arm.driver.press(False, "button")
    for _ in range(30):  # whose switch may still be pressed: during a stop nothing is sent
        arm.tick()
    answers: list[str] = []
    arm.driver.reset(answers.append)
    arm.tick()
    assert answers == [""]
    assert arm.driver.arbitration.engaged
    arm.driver.operate(None)
    arm.tick()
    assert not arm.driver.arbitration.engaged
