"""Devices turn messages and keys into intents."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from vla_ros.contract import load_contract
from vla_ros.core.errors import UserError
from vla_ros.teleop.configuration import Place, load_teleop
from vla_ros.teleop.intent import Intent, Mode, OperatorState, Situation
from vla_ros.teleop.keyboard import HOLD_S, KeyboardDevice
from vla_ros.testing.waiting import wait_for

CONTRACT = load_contract("tabletop_sim")
NOW_NS = 10_000_000_000


def device(name: str, terminal: str = "", clock_ns: Any = lambda: NOW_NS) -> Any:
    place = Place(terminal=terminal, clock_ns=clock_ns)
    return load_teleop(name, CONTRACT).make_device(place)


def joy(axes: dict[int, float] | None = None, buttons: tuple[int, ...] = ()) -> Any:
    values = [0.0] * 8
    for index, value in (axes or {}).items():
        values[index] = value
    return SimpleNamespace(axes=values, buttons=[int(i in buttons) for i in range(11)])


def told(gamepad: Any, message: Any) -> Intent:
    """Hand a message to the device and return what it makes of it."""
    (feed,) = gamepad.feeds
    feed.receive(message, NOW_NS)
    intent = gamepad.read(NOW_NS)
    assert isinstance(intent, Intent)
    return intent


def test_a_gamepad_says_nothing_before_its_first_message() -> None:
    assert device("gamepad").read(NOW_NS) is None


def test_the_dead_man_switch_engages_and_sticks_move_beyond_their_dead_zone() -> None:
    gamepad = device("gamepad")
    intent = told(gamepad, joy({1: 1.0, 0: 0.05, 4: -0.54}, buttons=(4,)))
    assert intent.engaged
    assert intent.mode is Mode.END_EFFECTOR
    assert (intent.axes["x"], intent.axes["y"]) == (1.0, 0.0)
    assert intent.axes["z"] == pytest.approx(-0.5)
    assert not told(gamepad, joy({1: 1.0})).engaged


def test_buttons_change_mode_and_speed_once_per_press() -> None:
    gamepad = device("gamepad")
    assert told(gamepad, joy(buttons=(7,))).mode is Mode.JOINT
    assert told(gamepad, joy(buttons=(7,))).mode is Mode.JOINT, "it is still pressed"
    assert told(gamepad, joy()).mode is Mode.JOINT
    assert told(gamepad, joy(buttons=(7,))).mode is Mode.END_EFFECTOR
    assert told(gamepad, joy(buttons=(3,))).speed == pytest.approx(0.625)
    for _ in range(30):
        told(gamepad, joy(buttons=(2,)))
        slowest = told(gamepad, joy()).speed
    assert slowest == pytest.approx(0.05)


def test_a_pair_of_buttons_opens_and_closes_the_gripper() -> None:
    gamepad = device("gamepad")
    assert told(gamepad, joy(buttons=(1,))).axes["gripper"] == 1.0
    assert told(gamepad, joy(buttons=(0,))).axes["gripper"] == -1.0
    assert told(gamepad, joy(buttons=(0, 1))).axes["gripper"] == 0.0


def test_one_button_closes_and_opens_the_gripper_in_turns() -> None:
    mouse = device("spacemouse")
    assert told(mouse, joy()).axes["gripper"] == 0.0
    assert told(mouse, joy(buttons=(1,))).axes["gripper"] == -1.0
    assert told(mouse, joy()).axes["gripper"] == -1.0
    assert told(mouse, joy(buttons=(1,))).axes["gripper"] == 1.0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_stick_that_says_nonsense_stands_still(value: float) -> None:
    assert told(device("gamepad"), joy({1: value}, buttons=(4,))).axes["x"] == 0.0


def test_a_device_with_fewer_buttons_than_expected_never_engages() -> None:
    message = SimpleNamespace(axes=[1.0], buttons=[1, 1])
    assert not told(device("gamepad"), message).engaged


class Leader:
    """A leader arm with a pedal."""

    def __init__(self) -> None:
        self.device = device("leader")
        self.joints, self.pedal = (feed.receive for feed in self.device.feeds)
        self.names = list(CONTRACT.action.joints)

    def move(self, value: float, at_ns: int = NOW_NS, **changes: Any) -> None:
        message = {"name": self.names, "position": [value] * len(self.names), **changes}
        self.joints(SimpleNamespace(**message), at_ns)

    def press(self, pressed: bool, at_ns: int = NOW_NS) -> None:
        self.pedal(joy(buttons=(0,) if pressed else ()), at_ns)


def test_a_leader_says_where_joints_should_be_while_the_pedal_is_held() -> None:
    leader = Leader()
    leader.move(0.3)
    assert leader.device.read(NOW_NS) is None, "the pedal has not said anything"
    leader.press(True)
    intent = leader.device.read(NOW_NS)
    assert intent.engaged
    assert intent.positions["elbow_flex"] == 0.3


def test_what_a_leader_says_is_as_old_as_the_older_of_joints_and_pedal() -> None:
    leader, later_ns = Leader(), NOW_NS + 80_000_000
    leader.move(0.3)
    leader.press(True, later_ns)
    assert leader.device.read(later_ns).time_ns == NOW_NS, "the leader is silent"
    leader.move(0.3, later_ns)
    assert leader.device.read(later_ns).time_ns == later_ns
    leader.move(0.4, later_ns + 80_000_000)
    assert leader.device.read(later_ns).time_ns == later_ns, "the pedal was pulled"


@pytest.mark.parametrize(
    "changes", [{"position": [0.1]}, {"name": ["a"] * 6}, {"position": [float("nan")] * 6}]
)
def test_joints_that_make_no_sense_are_no_word_of_the_leader(changes: dict[str, Any]) -> None:
    leader = Leader()
    leader.press(True)
    leader.move(0.0, **changes)
    assert leader.device.read(NOW_NS) is None


class Terminal:
    """A pseudo-terminal, typed at from its other end."""

    def __init__(self) -> None:
        self.here, there = pty.openpty()
        self.now_ns = NOW_NS
        self.keyboard: KeyboardDevice = device("keyboard", os.ttyname(there), lambda: self.now_ns)
        self.keyboard.start()
        os.close(there)

    def type(self, text: str) -> None:
        os.write(self.here, text.encode())

    def intent(self) -> Intent:
        intent = self.keyboard.read(self.now_ns)
        assert intent is not None
        return intent


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.keyboard.stop()
    os.close(made.here)


def test_the_space_bar_takes_the_arm_and_gives_it_back(terminal: Terminal) -> None:
    assert not terminal.intent().engaged
    terminal.type(" ")
    wait_for(lambda: terminal.intent().engaged, "the arm to be taken")
    terminal.type(" ")
    wait_for(lambda: not terminal.intent().engaged, "the arm to be given back")


def test_a_key_moves_for_a_moment_and_then_the_arm_stands_still(terminal: Terminal) -> None:
    terminal.type("w")
    wait_for(lambda: terminal.intent().axes == {"x": 1.0}, "the key")
    terminal.now_ns += round(HOLD_S * 1e9) + 1
    assert terminal.intent().axes == {}
    assert terminal.intent().time_ns == terminal.now_ns, "the operator is there all the same"


def test_keys_change_mode_and_speed(terminal: Terminal) -> None:
    terminal.type("m+q")
    wait_for(lambda: terminal.intent().axes == {"shoulder_pan": 1.0}, "the key")
    assert terminal.intent().mode is Mode.JOINT
    assert terminal.intent().speed == pytest.approx(0.625)


def test_the_operator_sees_how_things_stand(terminal: Terminal) -> None:
    terminal.keyboard.tell(Situation(state=OperatorState.ENGAGED, actor="operator"))
    seen = ""
    while "engaged" not in seen:
        seen += os.read(terminal.here, 1000).decode()
    assert "w x+" in seen
    assert "50 %" in seen


def test_a_terminal_that_is_closed_is_silence() -> None:
    terminal = Terminal()
    os.close(terminal.here)
    wait_for(lambda: terminal.keyboard.read(NOW_NS) is None, "silence")
    terminal.keyboard.stop()


def test_without_a_terminal_the_error_says_how_to_name_one() -> None:
    with pytest.raises(UserError, match=r"needs a terminal, and /dev/null is none .*terminal:="):
        device("keyboard", "/dev/null").start()
