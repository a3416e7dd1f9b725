"""The `gate` node: executes chunks at control rate, checks every command, holds when in doubt."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger
from vla_ros_interfaces.msg import Acting, GateStatus

from vla_ros.contract import STATE, load_contract
from vla_ros.core.conventions import PATIENCE_NS
from vla_ros.ros.chunk_inputs import ChunkInputs
from vla_ros.ros.diagnostics import DiagnosticsPublisher
from vla_ros.ros.gate_driver import GateDriver
from vla_ros.ros.gate_reports import command_finding, gate_findings, write_status
from vla_ros.ros.joint_state_input import JointStateInput
from vla_ros.ros.joints import CommandCodec
from vla_ros.ros.lifecycle import ManagedNode
from vla_ros.ros.parameters import declare_parameters, parameter
from vla_ros.ros.periodic import PeriodicThread, create_steady_timer, prefer_this_process
from vla_ros.ros.qos import command_qos, event_qos, latched_qos, sensor_qos
from vla_ros.ros.robot_time import RobotTime
from vla_ros.ros.running import main_of
from vla_ros.safety import Actor, make_gate

#: SCHED_FIFO priorities, where permitted: of the whole process, and of the control thread.
PROCESS_PRIORITY, CONTROL_PRIORITY = 20, 40
#: Commands are decided this long before they are due [s].
LEAD_S = 0.0015
#: A node that ends waits for the arm to stand still for as long as the limits let a stop take and
#: this much more [s], but no longer than whoever ends it waits before it kills.
BRAKE_MARGIN_S, LONGEST_BRAKE_S = 0.5, 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GateParameters:
    """ROS parameters of the node."""

    contract: str = parameter(about="contract name or path")
    status_rate_hz: float = parameter(20.0, about="rate of gate/status [Hz]")
    realtime: bool = parameter(True, about="ask for SCHED_FIFO scheduling of the control thread")
    start_stopped: bool = parameter(
        False, about="begin with the emergency stop latched, until gate/reset"
    )
    autostart: bool = parameter(True, about="configure and activate at once")

    def __post_init__(self) -> None:
        """Refuse a rate that is none."""
        if not (isfinite(self.status_rate_hz) and self.status_rate_hz > 0.0):
            raise ValueError(
                f"status_rate_hz: expected a rate above 0 Hz, got {self.status_rate_hz:g}"
            )


class GateNode(ManagedNode):
    """Ticks the gate from a thread of its own; the executor's callbacks only feed it."""

    default_name = "gate"
    _driver: GateDriver
    _control: PeriodicThread | None = None
    _next: Any = None

    def setup(self) -> None:
        """Load the contract, make the gate, publishers, subscriptions and services."""
        self._settings = declare_parameters(self, GateParameters)
        contract = load_contract(self._settings.contract)
        self._contract, action, state = contract, contract.action, contract.observation(STATE)
        self._period_s = 1.0 / action.control_rate_hz
        self._time = RobotTime(self)
        self._driver = self._make_driver()
        self._codec = CommandCodec(action.command.type, action.joints, self._period_s)
        check = self._driver.gate.state_check
        self._joint_states = JointStateInput(state, action.joints, check, self._time)
        self._diagnostics = DiagnosticsPublisher(self, contract.name)
        self._commands = self.create_publisher(
            self._codec.message_type, action.command.topic, command_qos()
        )
        self._status = self.create_publisher(GateStatus, "gate/status", latched_qos())
        self._acting = self.create_publisher(Acting, "gate/acting", latched_qos())
        waiting = max(1, round(0.1 * state.rate_hz))  # other devices may share the topic
        self.create_subscription(
            JointState, state.topic, self._on_joint_state, sensor_qos(depth=waiting)
        )
        self._chunks = ChunkInputs(self, self._time, lambda: self._driver)
        # of presses and releases none may be lost, however soon the next one follows
        self.create_subscription(Bool, "estop", self._on_estop_topic, event_qos())
        self.create_service(SetBool, "gate/estop", self._on_estop)
        waits = ReentrantCallbackGroup()  # what waits for a reset must not keep the rest waiting
        self.create_service(Trigger, "gate/reset", self._on_reset, callback_group=waits)
        create_steady_timer(self, 1.0 / self._settings.status_rate_hz, self._publish_status)
        create_steady_timer(self, 1.0, self._diagnose)
        self._prepare_control()

    def start(self) -> None:
        """Start the control thread on a gate that does not know yet where the robot is."""
        self._driver = self._make_driver()
        self._joint_states.start()
        self._publish_acting(self._driver.actor)
        self._started_ns = self._time.now_ns()
        self._control = PeriodicThread(
            self._decide,
            self._send,
            lead_s=LEAD_S,
            rate_hz=self._contract.action.control_rate_hz,
            name="control",
            on_error=self.fail,
            priority=CONTROL_PRIORITY if self._settings.realtime else None,
        )
        self._control.start()

    def _make_driver(self) -> GateDriver:
        """Return a new driver, stopped if the one before was or the parameter asks for it."""
        before = getattr(self, "_driver", None)
        driver = GateDriver(make_gate(self._contract))
        if self._settings.start_stopped if before is None else before.stopped:
            driver.press(True, "start")
            driver.press(False, "start")
        for button in before.buttons if before is not None else ():
            driver.press(True, button)
        if before is not None and before.arbitration.engaged:
            driver.arbitration.hold()
        return driver

    def _prepare_control(self) -> None:
        """Ask for the scheduling that is wanted, and check that stops are short enough."""
        granted = "as it is, without `realtime`"
        if self._settings.realtime:
            granted = prefer_this_process(PROCESS_PRIORITY)
        self.get_logger().info(f"control thread: {granted}")
        longest_s = self._driver.gate.longest_stop_s
        if longest_s + BRAKE_MARGIN_S > LONGEST_BRAKE_S:
            self.get_logger().warning(
                f"the limits let a stop take {longest_s:.1f} s: a gate that is ended meanwhile "
                f"waits {LONGEST_BRAKE_S:g} s and leaves the rest to the servos; raise the "
                "acceleration or jerk limits, or lower the velocities"
            )

    def stop(self) -> None:
        """Brake to a stand-still, then end the control thread."""
        control, self._control = self._control, None
        if control is None:
            return
        allowed_s = min(self._driver.gate.longest_stop_s + BRAKE_MARGIN_S, LONGEST_BRAKE_S)
        if self.fatal is None and not self._driver.brake(allowed_s):
            self.get_logger().error("the arm was still moving when the gate was stopped")
        control.stop()

    def _decide(self, deadline_ns: int) -> None:
        due_ns = self._time.at(deadline_ns)
        command = self._driver.tick(due_ns)
        self._next = None
        if command.positions is not None:
            stamp_ns = self._time.to_stamp(due_ns)
            self._next = self._codec.write(command.positions, stamp_ns)

    def _send(self) -> None:
        if self._next is not None:
            self._commands.publish(self._next)
            self._driver.note_sent(self._time.now_ns())
        if self._driver.actor != self._acts:  # after the command, which must not wait for it
            self._publish_acting(self._driver.actor)

    def _publish_acting(self, actor: Actor) -> None:
        self._acts = actor
        message = Acting(actor=str(actor))
        message.header.stamp = self.get_clock().now().to_msg()
        self._acting.publish(message)

    def _on_joint_state(self, message: JointState) -> None:
        self._joint_states.receive(message)
        self._driver.measured = self._joint_states.measured

    def _on_estop_topic(self, message: Bool) -> None:
        self._press(bool(message.data), "topic")

    def _on_estop(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._press(bool(request.data), "service")
        response.success, response.message = True, "released; latched until gate/reset"
        if request.data:
            response.message = "engaged"
        elif self._driver.pressed:
            response.message = "released here; the button on the topic estop is still pressed"
        return response

    def _press(self, pressed: bool, button: str) -> None:
        was = self._driver.pressed
        self._driver.press(pressed, button)
        if self._driver.pressed != was:
            self.get_logger().warning(f"emergency stop {'engaged' if pressed else 'released'}")

    async def _on_reset(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Answer when the arm stands still and the gate has begun anew, or cannot."""
        if self._control is None:
            response.message = "the gate is not active"
            return response
        answer: Future = Future(executor=self.executor)
        self._driver.reset(answer.set_result)
        fault = await answer
        if fault:
            fault = self._joint_states.fault() or fault
        response.success, response.message = not fault, fault or "ready"
        return response

    def _publish_status(self) -> None:
        control = self._control
        if control is None or self._driver.command is None:
            return
        message = write_status(
            self._driver,
            self._time.now_ns(),
            control.jitter.summarize(),
            self._joint_states.fault(),
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(message)

    def _diagnose(self) -> None:
        control = self._control
        if control is None or self._time.now_ns() - self._started_ns < PATIENCE_NS:
            return
        jitter = control.jitter.summarize()
        topic = self._contract.action.command.topic
        self._diagnostics.publish(
            [
                self._joint_states.finding(),
                command_finding(self, topic),
                *gate_findings(self._driver, jitter, self._period_s),
            ]
        )


main = main_of(GateNode)

if __name__ == "__main__":
    main()
