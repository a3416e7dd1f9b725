"""The joint states as the gate gets them: the newest good one, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence

from sensor_msgs.msg import JointState

from vla_ros.contract import ObservationSpec
from vla_ros.core.errors import ObservationError
from vla_ros.observation.rates import RateMonitor
from vla_ros.ros.diagnostics import OK, WARN, Finding
from vla_ros.ros.gate_driver import Measured
from vla_ros.ros.joints import JointStateReader, OtherJoints
from vla_ros.ros.robot_time import RobotTime
from vla_ros.ros.stamps import to_ns
from vla_ros.safety.joint_state_check import JointStateCheck


class JointStateInput:
    """Takes the messages of one topic. One thread calls it.

    Attributes:
        measured: The newest joint state; None as long as there is none that can be used.
    """

    def __init__(
        self, spec: ObservationSpec, joints: Sequence[str], check: JointStateCheck, time: RobotTime
    ) -> None:
        """Expect `joints` on the topic of `spec`; `check` judges them, on the clock `time`."""
        self._topic = spec.topic
        self._reader = JointStateReader(spec.topic, joints)
        self._rate = RateMonitor(spec.rate_hz)
        self._check = check
        self._time = time
        self.measured: Measured | None = None
        self._refused = "no joint state has arrived"
        self._others = ""

    def start(self) -> None:
        """Begin to expect messages."""
        self._rate.start(self._time.now_ns())

    def receive(self, message: JointState) -> None:
        """Take a message; those of other devices on the same topic do not count."""
        try:
            positions = self._reader.read(message)
            stamp_ns = to_ns(message.header.stamp)
            if stamp_ns == 0:
                raise ObservationError(self._topic, "the stamp is 0: the driver must set it")
        except OtherJoints as error:
            self._others = error.reason
            return
        except ObservationError as error:
            self.measured, self._refused = None, error.reason
        else:
            self.measured = Measured(positions, self._time.from_stamp(stamp_ns))
            self._refused = ""
        self._others = ""
        self._rate.count(self._time.now_ns())

    def fault(self) -> str:
        """Return the topic and what is wrong with its joint states now, or ''."""
        fault = self._fault(self._time.now_ns())
        return f"{self._topic}: {fault}" if fault else ""

    def finding(self) -> Finding:
        """Return the health of the joint states."""
        now_ns = self._time.now_ns()
        report, fault = self._rate.report(now_ns), self._fault(now_ns)
        if not fault and report.short:
            expected_hz = self._rate.expected_hz
            fault = f"{report.rate_hz:.0f} Hz arrive, the contract says {expected_hz:.0f} Hz"
        elif fault and self.measured is not None and report.received and not report.short:
            fault = f"{fault} (they arrive at {report.rate_hz:.0f} Hz)"
        return Finding(
            name=self._topic,
            message=fault or "ok",
            level=WARN if fault else OK,
            values={"rate_hz": round(report.rate_hz, 1)},
        )

    def _fault(self, now_ns: int) -> str:
        measured, fault = self.measured, self._refused
        if measured is not None:
            fault = self._check.fault(now_ns, measured.positions, measured.time_ns)
        if fault and self._others:
            return f"{fault}; in the newest message there is {self._others}"
        return fault
