"""`/diagnostics`: one status per stream and one per node, at 1 Hz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from vla_ros.ros.qos import event_qos

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The health of one thing.

    Attributes:
        name: The thing, for example a topic.
        message: One sentence: what is wrong, its likely cause and its cure; `ok` otherwise.
        level: `OK`, `WARN` or `ERROR`.
        values: Numbers beside it.
    """

    name: str
    message: str = "ok"
    level: bytes = OK
    values: Mapping[str, object] = field(default_factory=dict)


class DiagnosticsPublisher:
    """Publishes findings and logs each change for the worse, and the recovery, once."""

    def __init__(self, node: Node, hardware_id: str) -> None:
        """Publish in the name of `node` about `hardware_id` (the contract)."""
        self._node = node
        self._hardware_id = hardware_id
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", event_qos())
        self._levels: dict[str, bytes] = {}

    def publish(self, findings: Sequence[Finding]) -> None:
        """Send the findings."""
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status = [self._status(finding) for finding in findings]
        self._publisher.publish(message)
        for finding in findings:
            self._log_change(finding)

    def _status(self, finding: Finding) -> DiagnosticStatus:
        return DiagnosticStatus(
            level=finding.level,
            name=f"{self._node.get_name()}: {finding.name}",
            message=finding.message,
            hardware_id=self._hardware_id,
            values=[KeyValue(key=key, value=str(value)) for key, value in finding.values.items()],
        )

    def _log_change(self, finding: Finding) -> None:
        before = self._levels.get(finding.name, OK)
        self._levels[finding.name] = finding.level
        if finding.level == before:
            return
        text = f"{finding.name}: {finding.message}"
        if finding.level == OK:
            self._node.get_logger().info(text)
        else:
            self._node.get_logger().warning(text)
