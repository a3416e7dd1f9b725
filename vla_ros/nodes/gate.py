"""The `gate` node: executes chunks at control rate, checks every command, holds when in doubt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger
from vla_ros_interfaces.msg import ActionChunk, GateStatus

from vla_ros.contract import STATE, load_contract
from vla_ros.core.conventions import PATIENCE_NS
from vla_ros.core.errors import ChunkRejected, ObservationError
from vla_ros.observation.rates import RateMonitor
from vla_ros.ros.chunks import read_chunk
from vla_ros.ros.diagnostics import DiagnosticsPublisher
from vla_ros.ros.gate_driver import GateDriver, Measured
from vla_ros.ros.gate_reports import command_finding, gate_findings, state_finding, write_status
from vla_ros.ros.joints import CommandCodec, JointStateReader
from vla_ros.ros.lifecycle import ManagedNode
from vla_ros.ros.parameters import declare_parameters, parameter
from vla_ros.ros.periodic import PeriodicThread, prefer_this_process
from vla_ros.ros.qos import command_qos, latched_qos, sensor_qos
from vla_ros.ros.robot_time import RobotTime
from vla_ros.ros.running import main_of
from vla_ros.ros.stamps import to_ns
from vla_ros.safety import make_gate

#: SCHED_FIFO priorities, where permitted: of the whole process, and of the control thread.
PROCESS_PRIORITY, CONTROL_PRIORITY = 20, 40
#: Commands are decided this long before they are due [s].
LEAD_S = 0.0015


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
        self._topic = state.topic
        self._reader = JointStateReader(state.topic, action.joints)
        self._state_fault = "no message has arrived"
        self._rate = RateMonitor(state.rate_hz)
        self._diagnostics = DiagnosticsPublisher(self, contract.name)
        self._commands = self.create_publisher(
            self._codec.message_type, action.command.topic, command_qos()
        )
        self._status = self.create_publisher(GateStatus, "gate/status", latched_qos())
        self.create_subscription(JointState, state.topic, self._on_joint_state, sensor_qos())
        self.create_subscription(ActionChunk, "policy/chunk", self._on_chunk, command_qos())
        self.create_subscription(Bool, "estop", self._on_estop_topic, command_qos())
        self.create_service(SetBool, "gate/estop", self._on_estop)
        self.create_service(Trigger, "gate/reset", self._on_reset)
        self.create_timer(1.0 / self._settings.status_rate_hz, self._publish_status)
        self.create_timer(1.0, self._diagnose)

    def start(self) -> None:
        """Start the control thread on a gate that does not know yet where the robot is."""
        self._driver = self._make_driver()
        self._rate.start(self._time.now_ns())
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
            driver.press(True)
            driver.press(before is not None and before.pressed)
        return driver

    def stop(self) -> None:
        """Brake to a stand-still, then end the control thread."""
        control, self._control = self._control, None
        if control is None:
            return
        if self.fatal is None and not self._driver.brake(timeout_s=1.0):
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

    def _on_joint_state(self, message: JointState) -> None:
        self._rate.count(self._time.now_ns())
        try:
            stamp_ns = to_ns(message.header.stamp)
            if stamp_ns == 0:
                raise ObservationError(self._topic, "the stamp is 0: the driver must set it")
            positions = self._reader.read(message)
            self._driver.measured = Measured(positions, self._time.from_stamp(stamp_ns))
            self._state_fault = ""
        except ObservationError as error:
            self._driver.measured = None
            self._state_fault = error.reason

    def _on_chunk(self, message: ActionChunk) -> None:
        if message.horizon == 0:
            self._driver.idle()
            return
        try:
            chunk = read_chunk(message)
        except ChunkRejected as error:
            self._driver.chunk_fault = error.reason
            return
        self._driver.offer(replace(chunk, stamp_ns=self._time.from_stamp(chunk.stamp_ns)))

    def _on_estop_topic(self, message: Bool) -> None:
        self._press(bool(message.data))

    def _on_estop(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._press(bool(request.data))
        response.success = True
        response.message = "engaged" if request.data else "released; latched until gate/reset"
        return response

    def _press(self, pressed: bool) -> None:
        if pressed != self._driver.pressed:
            self.get_logger().warning(f"emergency stop {'engaged' if pressed else 'released'}")
        self._driver.press(pressed)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        fault = self._driver.reset(timeout_s=0.5)
        if fault and self._state_fault:
            fault = f"{self._topic}: {self._state_fault}"
        response.success, response.message = not fault, fault or "ready"
        return response

    def _publish_status(self) -> None:
        control = self._control
        if control is None or self._driver.command is None:
            return
        fault = f"{self._topic}: {self._state_fault}" if self._state_fault else ""
        message = write_status(
            self._driver, self._time.now_ns(), control.jitter.summarize(), fault
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(message)

    def _diagnose(self) -> None:
        control = self._control
        if control is None or self._time.now_ns() - self._started_ns < PATIENCE_NS:
            return
        jitter = control.jitter.summarize()
        listeners = self._commands.get_subscription_count()
        self._diagnostics.publish(
            [
                state_finding(self._topic, self._state_fault, self._rate, self._time.now_ns()),
                command_finding(self._contract.action.command.topic, listeners),
                *gate_findings(self._driver, jitter, self._period_s),
            ]
        )


def main() -> None:
    """Run the node, with real-time scheduling where that is permitted."""
    print(f"control thread: {prefer_this_process(PROCESS_PRIORITY)}", flush=True)
    main_of(GateNode)()


if __name__ == "__main__":
    main()
