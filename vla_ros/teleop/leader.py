"""A leader arm: a small copy of the robot that the operator moves by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vla_ros.teleop.device import Feed
from vla_ros.teleop.intent import Intent, Mode, Situation

JOY, BOOL = "sensor_msgs/msg/Joy", "std_msgs/msg/Bool"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderJoint:
    """Which joint of the leader moves one of the robot's: `scale * position + offset` [rad]."""

    source: str
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderSettings:
    """Where a leader's joints come from, and its dead-man switch.

    Attributes:
        topic: Where `sensor_msgs/msg/JointState` comes.
        joints: For joints of the robot, which of the leader's it follows.
        switch_topic: Where the dead-man switch comes: a pedal, a button.
        switch_type: Of its messages, `sensor_msgs/msg/Joy` or `std_msgs/msg/Bool`.
        switch_button: Index of the button in a `Joy`.
    """

    topic: str
    joints: Mapping[str, LeaderJoint]
    switch_topic: str
    switch_type: str
    switch_button: int


class LeaderDevice:
    """Says where the robot's joints should be while the switch is held.

    An intent is as old as the older of its two halves: joints that come on after the switch's
    cable was pulled are no word of the operator's, nor is a switch that is held while the leader
    is silent.
    """

    def __init__(self, settings: LeaderSettings) -> None:
        """Follow a leader."""
        self._settings = settings
        self._positions: dict[str, float] | None = None
        self._positions_ns = 0
        self._switch: bool | None = None
        self._switch_ns = 0

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """The leader's joints, and the switch."""
        settings = self._settings
        return (
            Feed(
                topic=settings.topic,
                type="sensor_msgs/msg/JointState",
                receive=self.receive_joints,
            ),
            Feed(
                topic=settings.switch_topic,
                type=settings.switch_type,
                receive=self.receive_switch,
            ),
        )

    def start(self) -> None:
        """Forget what came before."""
        self._positions = self._switch = None

    def receive_joints(self, message: Any, now_ns: int) -> None:
        """Take the leader's joints; a message without one of them, or with nonsense, is none."""
        found = dict(zip(message.name, message.position, strict=False))
        positions = {}
        for name, joint in self._settings.joints.items():
            value = float(found.get(joint.source, math.nan))
            if not math.isfinite(value):
                return
            positions[name] = joint.scale * value + joint.offset
        self._positions, self._positions_ns = positions, now_ns

    def receive_switch(self, message: Any, now_ns: int) -> None:
        """Take the switch."""
        if self._settings.switch_type == BOOL:
            self._switch = bool(message.data)
        else:
            buttons, index = message.buttons, self._settings.switch_button
            self._switch = index < len(buttons) and bool(buttons[index])
        self._switch_ns = now_ns

    def read(self, now_ns: int) -> Intent | None:
        """Return where the joints should be; None while the leader or the switch is missing."""
        if self._positions is None or self._switch is None:
            return None
        return Intent(
            time_ns=min(self._positions_ns, self._switch_ns),
            engaged=self._switch,
            mode=Mode.JOINT,
            positions=self._positions,
        )

    def tell(self, situation: Situation) -> None:
        """A leader shows nothing."""

    def stop(self) -> None:
        """The drivers are not ours to close."""
