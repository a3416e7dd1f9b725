"""Gamepads and SpaceMice: whatever has a driver that publishes `sensor_msgs/Joy`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vla_ros.teleop.device import Feed
from vla_ros.teleop.intent import Intent, Mode, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What moves one axis: a stick, a pair of buttons, or one button that turns it around.

    Attributes:
        axis: Index of the stick's axis in the message; None for buttons.
        scale: Factor on the stick's value, -1 to turn it around.
        buttons: Indices of the buttons that move it up and down.
        toggle: Index of a button that makes it move to the other side from now on.
    """

    axis: int | None = None
    scale: float = 1.0
    buttons: tuple[int, int] | None = None
    toggle: int | None = None

    def value(
        self,
        axes: Sequence[float],
        buttons: Sequence[int],
        sides: Mapping[int, float],
        deadzone: float,
    ) -> float:
        """Return the axis from -1 to 1; a stick counts from its dead zone on.

        Args:
            axes: Of the message.
            buttons: Of the message.
            sides: To which side each toggle moves; those that are missing stand still.
            deadzone: Share of a stick's way that counts as rest.
        """
        if self.toggle is not None:
            return sides.get(self.toggle, 0.0)
        if self.buttons is not None:
            up, down = (bool(_at(buttons, index)) for index in self.buttons)
            return float(up) - float(down)
        assert self.axis is not None
        raw = float(_at(axes, self.axis))
        if not math.isfinite(raw):
            return 0.0
        size = max(0.0, abs(raw) - deadzone) / (1.0 - deadzone)
        return min(max(math.copysign(size, raw) * self.scale, -1.0), 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoySettings:
    """How a gamepad's sticks and buttons are used.

    Attributes:
        topic: Where `sensor_msgs/msg/Joy` comes.
        dead_man: Index of the button that has to be held.
        deadzone: Share of a stick's way that counts as rest.
        bindings: For each mode, what moves which axis.
        next_mode: Button that changes to the next mode; None for none.
        faster: Button that raises the speed; None for none.
        slower: Button that lowers it; None for none.
        speed: To begin with, above 0 to 1.
    """

    topic: str
    dead_man: int
    deadzone: float
    bindings: Mapping[Mode, Mapping[str, Binding]]
    next_mode: int | None
    faster: int | None
    slower: int | None
    speed: float


#: One press of `faster` or `slower` changes the speed by this factor, down to the slowest.
SPEED_STEP, SLOWEST = 1.25, 0.05


class SpeedScale:
    """The share of the highest speeds that an operator has chosen."""

    def __init__(self, start: float) -> None:
        """Begin with a share, above 0 to 1."""
        self.value = start

    def raise_(self) -> None:
        """Go faster, up to the highest."""
        self.value = min(1.0, self.value * SPEED_STEP)

    def lower(self) -> None:
        """Go slower, down to the slowest."""
        self.value = max(SLOWEST, self.value / SPEED_STEP)


class JoyDevice:
    """Keeps the newest message, and notices presses of the buttons that change something."""

    def __init__(self, settings: JoySettings, modes: Sequence[Mode]) -> None:
        """Use `settings`; `modes` in the order in which the button goes through them."""
        self._settings = settings
        self._modes = tuple(modes)
        self._mode = self._modes[0]
        self._speed = SpeedScale(settings.speed)
        self._pressed: set[int] = set()
        self._toggles = {
            binding.toggle
            for bindings in settings.bindings.values()
            for binding in bindings.values()
            if binding.toggle is not None
        }
        self._sides: dict[int, float] = {}
        self._intent: Intent | None = None

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """The topic of the driver."""
        topic = self._settings.topic
        return (Feed(topic=topic, type="sensor_msgs/msg/Joy", receive=self.receive),)

    def start(self) -> None:
        """Forget what came before."""
        self._intent = None

    def receive(self, message: Any, now_ns: int) -> None:
        """Take a message of the driver; one that is too short for the dead-man switch says no."""
        axes, buttons = list(message.axes), list(message.buttons)
        self._notice_presses(buttons)
        settings = self._settings
        bindings = settings.bindings[self._mode]
        self._intent = Intent(
            time_ns=now_ns,
            engaged=bool(_at(buttons, settings.dead_man)),
            mode=self._mode,
            axes={
                name: binding.value(axes, buttons, self._sides, settings.deadzone)
                for name, binding in bindings.items()
            },
            speed=self._speed.value,
        )

    def read(self, now_ns: int) -> Intent | None:
        """Return what the newest message says."""
        return self._intent

    def tell(self, situation: Situation) -> None:
        """A gamepad shows nothing."""

    def stop(self) -> None:
        """The driver is not ours to close."""

    def _notice_presses(self, buttons: Sequence[int]) -> None:
        now = {index for index, value in enumerate(buttons) if value}
        new, self._pressed = now - self._pressed, now
        settings = self._settings
        if settings.next_mode in new:
            place = self._modes.index(self._mode)
            self._mode = self._modes[(place + 1) % len(self._modes)]
        for index in self._toggles & new:
            self._sides[index] = -self._sides.get(index, 1.0)  # at first down: a gripper closes
        if settings.faster in new:
            self._speed.raise_()
        if settings.slower in new:
            self._speed.lower()


def _at(values: Sequence[float], index: int) -> float:
    """Return a value; 0 where the device has no such button or axis."""
    return values[index] if index < len(values) else 0
