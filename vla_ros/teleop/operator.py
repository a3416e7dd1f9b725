"""An operator: takes the arm, moves it, lets go, or goes silent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_ros.contract import RobotContract
from vla_ros.core.types import ActionChunk, FloatArray
from vla_ros.teleop.arm_target import ArmTarget
from vla_ros.teleop.base_target import BaseTarget, BaseVelocity
from vla_ros.teleop.intent import Intent, Mode, OperatorState
from vla_ros.teleop.settings import TeleopSettings
from vla_ros.teleop.timing import VALID_S

#: Time between two rows of a chunk [s].
STEP_S = 0.01
ROWS = round(VALID_S / STEP_S)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Order:
    """What is to be sent because of an intent.

    Attributes:
        chunk: For the gate, stamped with the time of the intent; None for nothing.
        let_go: Whether the gate is to be told that the operator lets go.
        base: For the base; None for nothing.
    """

    chunk: ActionChunk | None = None
    let_go: bool = False
    base: BaseVelocity | None = None


class Operator:
    """Turns intents into orders. It has no thread and reads no clock.

    The arm is taken when the dead-man switch is pressed, by a device that has shown it released
    before: a switch that is stuck, or held while the node starts, takes nothing. Motion begins at
    the present command. A chunk lasts until `VALID_S` after the intent that it was made of, so
    nothing has to notice that a device was unplugged: the gate stops the arm.
    """

    def __init__(self, contract: RobotContract, settings: TeleopSettings) -> None:
        """Operate a robot.

        Args:
            contract: Of the robot.
            settings: Of the device.

        Raises:
            UserError: if the device speaks too seldom for the arm to be stopped in time.
        """
        self._joints = contract.action.joints
        self._arm = ArmTarget(contract, settings)
        self._base = BaseTarget(settings.speeds)
        self._times_s: FloatArray = STEP_S * np.arange(1.0, ROWS + 1.0)
        self._released = False
        self._last_ns: int | None = None
        self.state = OperatorState.IDLE

    def step(
        self, intent: Intent | None, now_ns: int, command: FloatArray | None, *, stopped: bool
    ) -> Order:
        """Return what to send now; called whenever the device may have spoken, and all the time.

        Args:
            intent: What the device said last; None if it says nothing.
            now_ns: Present time [ns].
            command: What the gate commands now in [rad], shape (n,); None while it commands
                nothing: then nobody would stop a base either.
            stopped: Whether the emergency stop is pressed or latched.
        """
        if intent is None or now_ns - intent.time_ns > VALID_S * 1e9:
            return self._fall_silent()
        stopped = stopped or (command is None and self.state is OperatorState.ENGAGED)  # no gate
        if stopped and self.state is OperatorState.ENGAGED:
            self.state, self._released = OperatorState.STOPPED, False
        if not intent.engaged:
            return self._release()
        if stopped or self.state is OperatorState.STOPPED:
            self._released = False  # pressed during the stop: to be pressed again after it
            return self._stop_base()
        if self.state is not OperatorState.ENGAGED:
            if not self._released or command is None:
                self._released = False
                return Order()
            self._take(intent, command)
        if self._last_ns is not None and intent.time_ns <= self._last_ns:
            return Order()
        return self._move(intent, command)

    def _take(self, intent: Intent, command: FloatArray) -> None:
        self.state, self._released = OperatorState.ENGAGED, False
        self._arm.start(command)
        self._last_ns = None

    def _move(self, intent: Intent, command: FloatArray | None) -> Order:
        # the first word begins where the arm is
        dt_s = 0.0 if self._last_ns is None else (intent.time_ns - self._last_ns) * 1e-9
        self._last_ns = intent.time_ns
        rows = self._arm.advance(intent, dt_s, command, self._times_s)
        chunk = ActionChunk(
            stamp_ns=intent.time_ns,
            step_s=STEP_S,
            joint_names=self._joints,
            positions=rows,
        )
        if intent.mode is Mode.BASE:
            return Order(chunk=chunk, base=self._base.advance(intent, dt_s))
        return Order(chunk=chunk, base=self._stop_base().base)

    def _release(self) -> Order:
        """The switch is not pressed: let go, unless the operator was silent meanwhile.

        A gamepad that was plugged in again shows no button pressed, and nobody has let go.
        """
        self._released = True
        if self.state not in (OperatorState.ENGAGED, OperatorState.STOPPED):
            return self._stop_base()
        self.state = OperatorState.IDLE
        return Order(let_go=True, base=self._stop_base().base)

    def _fall_silent(self) -> Order:
        self._released = False
        if self.state in (OperatorState.ENGAGED, OperatorState.STOPPED):
            self.state = OperatorState.SILENT
        return self._stop_base()

    def _stop_base(self) -> Order:
        return Order(base=self._base.stop() if self._base.moving else None)
