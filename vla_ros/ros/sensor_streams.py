"""The contract's sensor topics: subscribed, checked, counted, and aligned into observations."""

from __future__ import annotations

from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, Imu, JointState

from vla_ros.contract import ObservationSpec, RobotContract
from vla_ros.core.conventions import PATIENCE_NS
from vla_ros.core.errors import ContractError
from vla_ros.observation.intake import Intake
from vla_ros.observation.newest_jobs import NewestJobs
from vla_ros.observation.rates import RateMonitor, RateReport
from vla_ros.observation.stream import StreamSpec
from vla_ros.ros.diagnostics import ERROR, OK, WARN, Finding
from vla_ros.ros.qos import sensor_qos
from vla_ros.ros.transport import large_frame_advice

#: Threads that decode, if there is anything to decode: decoders let go of Python's lock.
DECODERS = 2

MESSAGE_TYPES = {
    "sensor_msgs/msg/Image": Image,
    "sensor_msgs/msg/CompressedImage": CompressedImage,
    "sensor_msgs/msg/Imu": Imu,
    "sensor_msgs/msg/JointState": JointState,
}


class SensorStreams:
    """Subscriptions to every observation of a contract, feeding an `ObservationAligner`.

    Compressed images are decoded in threads of their own. Where they come faster than that, the
    newest of each camera is decoded next and the others never: nothing waits in a queue, and the
    executor goes on with joint states meanwhile.
    """

    def __init__(self, node: Node, contract: RobotContract, reliability: str) -> None:
        """Subscribe.

        Args:
            node: Owner of the subscriptions; its clock judges ages.
            contract: What to subscribe to.
            reliability: `best_effort` or `reliable`.
        """
        self._node = node
        self._started_ns = 0
        self._observations = {item.feature: item for item in contract.observations}
        self._reliability = reliability
        self._intake = Intake(contract)
        self._specs, self.aligner = self._intake.specs, self._intake.aligner
        frames = self._specs[self.aligner.reference]
        self.frame_rate_hz, self.frame_topic = frames.rate_hz, frames.topic
        self._decoding: NewestJobs | None = None
        if any(item.compressed for item in contract.observations):
            self._decoding = NewestJobs("decoding", DECODERS, self._on_decoding_error)
        self._rates = {spec.feature: RateMonitor(spec.rate_hz) for spec in self._specs.values()}
        for item in contract.observations:
            if item.type not in MESSAGE_TYPES:
                raise ContractError(
                    f"{contract.name}: {item.feature}: type: expected one of "
                    f"{', '.join(MESSAGE_TYPES)}, got '{item.type}'"
                )
            node.create_subscription(
                MESSAGE_TYPES[item.type],
                item.topic,
                partial(self._receive, item.feature),
                sensor_qos(depth=_depth(item), reliability=reliability),
            )

    def start(self) -> None:
        """Begin to expect messages: rates are judged from now on."""
        self._started_ns = self.now_ns()
        for rate in self._rates.values():
            rate.start(self.now_ns())

    def close(self) -> None:
        """End the threads that decode."""
        if self._decoding is not None:
            self._decoding.close()

    def now_ns(self) -> int:
        """Return ROS time in [ns], the clock of the stamps."""
        return int(self._node.get_clock().now().nanoseconds)

    def findings(self) -> list[Finding]:
        """Return the health of every stream."""
        now_ns = self.now_ns()
        faults = self.aligner.faults(now_ns)
        if now_ns - self._started_ns < PATIENCE_NS:
            faults = {}  # drivers and discovery take their time; inference waits for them anyway
        return [
            self._finding(feature, faults.get(feature, ""), rate.report(now_ns))
            for feature, rate in self._rates.items()
        ]

    def _receive(self, feature: str, message: Any) -> None:
        """Take a message, in the executor's thread."""
        if self._decoding is None or not self._observations[feature].compressed:
            if not self._intake.take(feature, message):
                return
        else:
            self._decoding.submit(feature, partial(self._intake.take, feature, message))
        self._rates[feature].count(self.now_ns())

    def _on_decoding_error(self, feature: str, error: Exception) -> None:
        """Say what is a bug of ours, and go on without that image."""
        self.aligner.refuse(feature, f"decoding failed: {error!r}")
        self._node.get_logger().error(f"{self._specs[feature].topic}: {error!r}")

    def _finding(self, feature: str, fault: str, rate: RateReport) -> Finding:
        spec = self._specs[feature]
        message, level = "ok", OK
        if rate.short:
            message, level = self._explain_shortfall(spec, rate), WARN
        if fault:
            message = f"{fault}; {message}" if rate.short else fault
            level = ERROR if spec.required else WARN
        values = {
            "feature": feature,
            "rate_hz": round(rate.rate_hz, 2),
            "expected_hz": spec.rate_hz,
            "required": spec.required,
        }
        if self._decoding is not None and self._observations[feature].compressed:
            values["not_decoded"] = self._decoding.replaced[feature]
        return Finding(name=spec.topic, message=message, level=level, values=values)

    def _explain_shortfall(self, spec: StreamSpec, rate: RateReport) -> str:
        text = (
            f"{rate.received} messages of {rate.expected:.0f} arrived "
            f"({rate.rate_hz:.1f} Hz of {spec.rate_hz:g} Hz)"
        )
        why = self._mismatch(spec) or large_frame_advice(spec.frame_bytes)
        return f"{text}; {why}" if why else text

    def _mismatch(self, spec: StreamSpec) -> str:
        """Return what keeps publisher and subscription apart, as far as discovery tells."""
        wanted = self._observations[spec.feature].type
        publishers = self._node.get_publishers_info_by_topic(
            self._node.resolve_topic_name(spec.topic)
        )
        if not publishers:
            return "nobody publishes the topic"
        types = {item.topic_type for item in publishers}
        if wanted not in types:
            return f"the topic has type {', '.join(sorted(types))}, the contract says {wanted}"
        best_effort = ReliabilityPolicy.BEST_EFFORT
        unreliable = all(item.qos_profile.reliability == best_effort for item in publishers)
        if self._reliability == "reliable" and unreliable:
            return (
                "its publisher is best effort and this node asks for reliable: they never match; "
                "set sensor_reliability:=best_effort"
            )
        return ""


def _depth(item: ObservationSpec) -> int:
    """Return how many messages may wait: one image, or 100 ms of anything fast."""
    return max(1, round(0.1 * item.rate_hz)) if item.rate_hz > 60 else 1
