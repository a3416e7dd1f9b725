"""The `teleop` node: an operator's device on one side, chunks for the gate on the other."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import Twist
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool, String
from vla_ros_interfaces.msg import ActionChunk, GateStatus

from vla_ros.contract import load_contract
from vla_ros.core.conventions import PATIENCE_NS, TOKEN_VARIABLE
from vla_ros.core.types import FloatArray
from vla_ros.ros.chunks import write_chunk
from vla_ros.ros.command_memory import CommandMemory
from vla_ros.ros.diagnostics import OK, WARN, DiagnosticsPublisher, Finding
from vla_ros.ros.lifecycle import ManagedNode
from vla_ros.ros.parameters import declare_parameters, parameter
from vla_ros.ros.periodic import create_steady_timer, prefer_this_process
from vla_ros.ros.qos import command_qos, event_qos, latched_qos, sensor_qos
from vla_ros.ros.recorder_desk import RecorderDesk
from vla_ros.ros.robot_time import RobotTime
from vla_ros.ros.running import main_of
from vla_ros.ros.stamps import to_ns, to_time
from vla_ros.teleop.base_target import BaseVelocity
from vla_ros.teleop.configuration import Place, load_teleop
from vla_ros.teleop.device import Feed
from vla_ros.teleop.driver_clock import DriverClock
from vla_ros.teleop.intent import Intent, Mode, OperatorState, Situation
from vla_ros.teleop.operator import Operator, Order
from vla_ros.teleop.timing import VALID_S

#: How often the device is asked [s], and how often the operator is told how things stand [s].
ASK_S, TELL_S = 0.01, 0.05
#: SCHED_FIFO priority, where permitted; below the gate's.
PROCESS_PRIORITY = 10
#: Messages of a device that may wait: presses of buttons are not to be lost.
WAITING = 10
#: The messages that devices listen to.
MESSAGES: dict[str, type] = {
    "sensor_msgs/msg/JointState": JointState,
    "sensor_msgs/msg/Joy": Joy,
    "std_msgs/msg/Bool": Bool,
    "std_msgs/msg/String": String,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TeleopParameters:
    """ROS parameters of the node."""

    contract: str = parameter(about="contract name or path")
    device: str = parameter(about="keyboard, gamepad, spacemouse, leader, network, or a YAML file")
    terminal: str = parameter(
        "", about="of the keyboard: path of the terminal; empty: the process's own"
    )
    operator: str = parameter("", about="name of the operator, for episodes started over the net")
    realtime: bool = parameter(True, about="ask for SCHED_FIFO scheduling of the process")
    autostart: bool = parameter(True, about="configure and activate at once")


class TeleopNode(ManagedNode):
    """All in the executor's thread: a message or a timer asks the device and sends the order."""

    default_name = "teleop"
    _device: Any = None
    _base: Any = None
    _active = False

    def setup(self) -> None:
        """Read contract and device; make publishers and subscriptions."""
        self._settings = settings = declare_parameters(self, TeleopParameters)
        self._contract = load_contract(settings.contract)
        config = load_teleop(settings.device, self._contract)
        self._config = config
        self._time = RobotTime(self)
        token = os.environ.get(TOKEN_VARIABLE, "")
        place = Place(
            token=token or secrets.token_urlsafe(16),
            show_token=not token,
            terminal=settings.terminal,
            clock_ns=self._time.now_ns,
            make_desk=lambda: RecorderDesk(self, settings.operator),
        )
        self._device = config.make_device(place)
        self._status: GateStatus | None = None
        self._commands = CommandMemory(self, self._contract, self._ros_now_ns)
        self._chunks = self.create_publisher(ActionChunk, "teleop/command", event_qos())
        self._base = None
        if Mode.BASE in config.settings.modes:
            topic = config.settings.base_topic
            self._base = self.create_publisher(Twist, topic, command_qos())
        self._diagnostics = DiagnosticsPublisher(self, self._contract.name)
        self.create_subscription(GateStatus, "gate/status", self._on_status, latched_qos())
        for feed in self._device.feeds:
            self._subscribe(feed)
        create_steady_timer(self, ASK_S, self._ask)
        create_steady_timer(self, TELL_S, self._tell)
        create_steady_timer(self, 1.0, self._diagnose)

    def start(self) -> None:
        """Open the device; the operator does not have the arm yet."""
        if self._settings.realtime:  # a word that is read too late stops the arm
            granted = prefer_this_process(PROCESS_PRIORITY)
            self.get_logger().info(f"process: {granted}")
        self._operator = Operator(self._contract, self._config.settings)
        self._started_ns = self._time.now_ns()
        self._device.start()
        self._active = True

    def stop(self) -> None:
        """Close the device. An operator who has the arm is silent from now on: it is held."""
        self._active = False
        if self._base is not None:
            self._base.publish(Twist())
        if self._device is not None:
            self._device.stop()

    def _subscribe(self, feed: Feed) -> None:
        clock = DriverClock()

        def receive(message: Any) -> None:
            if self._active:
                feed.receive(message, self._said_ns(message, clock))
                self._ask()

        self.create_subscription(
            MESSAGES[feed.type], feed.topic, receive, sensor_qos(depth=WAITING)
        )

    def _said_ns(self, message: Any, clock: DriverClock) -> int:
        """Return when a driver has said something: by its stamp, or now if it has none."""
        header = getattr(message, "header", None)
        stamp_ns = to_ns(header.stamp) if header is not None else 0
        if stamp_ns:
            stamp_ns = self._time.from_stamp(stamp_ns)
        return clock.said_ns(stamp_ns, self._time.now_ns())

    def _ask(self) -> None:
        """Send what comes of what the device says now."""
        if not self._active:
            return
        now_ns = self._time.now_ns()
        intent = self._device.read(now_ns)
        before = self._operator.state
        order = self._operator.step(intent, now_ns, self._command(), stopped=self._stopped())
        self._send(order)
        if self._operator.state is not before:
            self.get_logger().info(f"operator: {self._operator.state}")

    def _send(self, order: Order) -> None:
        if order.let_go:
            message = ActionChunk(joint_names=list(self._contract.action.joints))
            message.header.stamp = self.get_clock().now().to_msg()
            self._chunks.publish(message)
        if order.chunk is not None:
            message = write_chunk(order.chunk)
            stamp_ns = self._time.to_stamp(order.chunk.stamp_ns)
            message.header.stamp = to_time(stamp_ns)
            self._chunks.publish(message)
        if order.base is not None and self._base is not None:
            self._base.publish(_write_twist(order.base))

    def _command(self) -> FloatArray | None:
        """Return what the gate commands now in [rad]; None while it commands nothing."""
        command = self._commands.at(self._ros_now_ns())
        return None if command is None else command.astype(np.float64)

    def _stopped(self) -> bool:
        return self._status is not None and self._status.state == GateStatus.ESTOP

    def _on_status(self, message: GateStatus) -> None:
        self._status = message

    def _tell(self) -> None:
        if not self._active:
            return
        status = self._status
        self._device.tell(
            Situation(
                state=self._operator.state,
                actor=status.actor if status is not None else "",
                reason=status.reason if status is not None else "the gate says nothing",
            )
        )

    def _diagnose(self) -> None:
        if not self._active or self._time.now_ns() - self._started_ns < PATIENCE_NS:
            return
        now_ns = self._time.now_ns()
        fault = self._fault(self._device.read(now_ns), now_ns)
        self._diagnostics.publish(
            [
                Finding(
                    name=self._config.name,
                    message=fault or str(self._operator.state),
                    level=WARN if fault else OK,
                )
            ]
        )

    def _fault(self, intent: Intent | None, now_ns: int) -> str:
        """Return what keeps the operator from operating, or ''."""
        topics = " and ".join(feed.topic for feed in self._device.feeds) or "the device"
        if intent is None:
            return f"{topics}: nothing has come; is the driver running?"
        age_s = (now_ns - intent.time_ns) * 1e-9
        if age_s > VALID_S:
            return f"{topics}: silent for {age_s:.1f} s; is it plugged in?"
        if self._operator.state is OperatorState.SILENT:
            return "the operator was silent: release the dead-man switch, press it and let go"
        if self._command() is None:
            return "the gate commands nothing: is it running, and are there joint states?"
        return ""

    def _ros_now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)


def _write_twist(velocity: BaseVelocity) -> Twist:
    message = Twist()
    message.linear.x, message.linear.y = velocity.forward, velocity.left
    message.angular.z = velocity.turn
    return message


main = main_of(TeleopNode)

if __name__ == "__main__":
    main()
