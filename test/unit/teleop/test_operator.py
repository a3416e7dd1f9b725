"""An operator takes the arm, lets go, falls silent, and is stopped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vla_ros.contract import load_contract
from vla_ros.core.types import FloatArray
from vla_ros.teleop.configuration import load_teleop
from vla_ros.teleop.intent import Intent, Mode, OperatorState
from vla_ros.teleop.operator import Operator, Order
from vla_ros.teleop.timing import VALID_S

CONTRACT = load_contract("tabletop_sim")
HOME = np.array(CONTRACT.home)
MODES = (Mode.END_EFFECTOR, Mode.JOINT, Mode.BASE)
SETTINGS = replace(load_teleop("gamepad", CONTRACT).settings, modes=MODES)


class Hand:
    """An operator's hand on a device that speaks 50 times a second."""

    def __init__(self) -> None:
        self.operator = Operator(CONTRACT, SETTINGS)
        self.now_ns = 1_000_000_000_000
        self.command: FloatArray | None = HOME
        self.stopped = False

    @property
    def state(self) -> OperatorState:
        return self.operator.state

    def say(self, pressed: bool, mode: Mode = Mode.JOINT, **axes: float) -> Order:
        self.now_ns += 20_000_000
        intent = Intent(time_ns=self.now_ns, engaged=pressed, mode=mode, axes=axes)
        return self.step(intent)

    def step(self, intent: Intent | None) -> Order:
        return self.operator.step(intent, self.now_ns, self.command, stopped=self.stopped)

    def fall_silent(self) -> Order:
        intent = Intent(time_ns=self.now_ns, engaged=True, mode=Mode.JOINT)
        self.now_ns += round(VALID_S * 1e9) + 1
        return self.step(intent)

    def take_the_arm(self) -> Order:
        self.say(False)
        return self.say(True)


@pytest.fixture
def hand() -> Hand:
    return Hand()


def test_a_press_takes_the_arm_where_it_is(hand: Hand) -> None:
    order = hand.take_the_arm()
    assert hand.state is OperatorState.ENGAGED
    assert order.chunk is not None
    assert order.chunk.stamp_ns == hand.now_ns
    np.testing.assert_allclose(order.chunk.positions, np.repeat(HOME[None], 9, axis=0))


def test_a_chunk_lasts_as_long_as_the_word_that_it_was_made_of(hand: Hand) -> None:
    order = hand.take_the_arm()
    assert order.chunk is not None
    assert order.chunk.end_ns == hand.now_ns + round(VALID_S * 1e9)


def test_a_switch_that_was_never_seen_released_takes_nothing(hand: Hand) -> None:
    for _ in range(10):
        assert hand.say(True).chunk is None
    assert hand.state is OperatorState.IDLE


def test_nothing_is_taken_before_the_gate_commands_something(hand: Hand) -> None:
    hand.command = None
    assert hand.take_the_arm().chunk is None
    assert hand.state is OperatorState.IDLE
    hand.command = HOME
    assert hand.say(True).chunk is None, "the switch is still pressed from before"
    assert hand.take_the_arm().chunk is not None


def test_the_same_word_is_sent_once(hand: Hand) -> None:
    hand.take_the_arm()
    again = Intent(time_ns=hand.now_ns, engaged=True, mode=Mode.JOINT)
    hand.now_ns += 10_000_000
    assert hand.step(again).chunk is None


def test_letting_go_is_said_once(hand: Hand) -> None:
    hand.take_the_arm()
    assert hand.say(False).let_go
    assert not hand.say(False).let_go
    assert hand.state is OperatorState.IDLE


def test_silence_is_not_letting_go_and_the_device_that_is_back_does_not_let_go_either(
    hand: Hand,
) -> None:
    hand.take_the_arm()
    order = hand.fall_silent()
    assert (order.chunk, order.let_go) == (None, False)
    assert hand.state is OperatorState.SILENT
    assert not hand.say(False).let_go
    assert hand.state is OperatorState.SILENT
    assert hand.say(True).chunk is not None
    assert hand.say(False).let_go


def test_a_device_that_comes_back_with_its_switch_pressed_moves_nothing(hand: Hand) -> None:
    hand.take_the_arm()
    hand.fall_silent()
    assert hand.say(True, shoulder_pan=1.0).chunk is None
    assert hand.state is OperatorState.SILENT


def test_after_an_emergency_stop_the_switch_has_to_be_released_which_lets_go(hand: Hand) -> None:
    hand.take_the_arm()
    hand.stopped = True
    assert hand.say(True).chunk is None
    assert hand.state is OperatorState.STOPPED
    hand.stopped = False
    assert hand.say(True).chunk is None, "the switch is still pressed from before"
    assert hand.say(False).let_go
    assert hand.say(True).chunk is not None


def test_a_switch_that_was_pressed_during_the_stop_takes_nothing_after_it(hand: Hand) -> None:
    hand.say(False)
    hand.stopped = True
    assert hand.say(True).chunk is None
    hand.stopped = False
    assert hand.say(True).chunk is None, "the arm would move the moment the stop is reset"
    assert hand.take_the_arm().chunk is not None


def test_motion_begins_where_the_arm_was_brought_to_meanwhile(hand: Hand) -> None:
    hand.take_the_arm()
    for _ in range(10):
        hand.say(True, shoulder_pan=1.0)
    hand.say(False)
    hand.command = HOME - 0.2
    order = hand.say(True, shoulder_pan=1.0)
    assert order.chunk is not None
    np.testing.assert_allclose(order.chunk.positions[0], HOME - 0.2)


def test_the_base_speeds_up_gently_and_stops_at_once(hand: Hand) -> None:
    hand.take_the_arm()
    speeds = [hand.say(True, Mode.BASE, forward=1.0).base for _ in range(40)]
    forward = [speed.forward for speed in speeds if speed is not None]
    assert len(forward) == 40
    assert 0.0 < forward[0] < 0.2 * SETTINGS.speeds.base_linear
    assert forward[-1] == pytest.approx(SETTINGS.speeds.base_linear)
    stop = hand.say(False).base
    assert stop is not None
    assert stop.forward == 0.0


@pytest.mark.parametrize("why", ["silence", "stop", "mode"])
def test_a_moving_base_is_stopped_whatever_ends_its_motion(hand: Hand, why: str) -> None:
    hand.take_the_arm()
    for _ in range(10):
        hand.say(True, Mode.BASE, turn=-1.0)
    if why == "silence":
        order = hand.fall_silent()
    elif why == "stop":
        hand.stopped = True
        order = hand.say(True, Mode.BASE, turn=-1.0)
    else:
        order = hand.say(True, Mode.JOINT)
    assert order.base is not None
    assert order.base.turn == 0.0


def test_while_the_base_is_driven_the_operator_holds_the_arm_still(hand: Hand) -> None:
    hand.take_the_arm()
    order = hand.say(True, Mode.BASE, forward=1.0)
    assert order.chunk is not None
    np.testing.assert_allclose(order.chunk.positions, np.repeat(HOME[None], 9, axis=0))
