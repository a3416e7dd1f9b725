"""A node of a test: hears topics, calls services, and knows the newest diagnostics."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node

from vla_ros.ros.qos import event_qos
from vla_ros.testing.waiting import wait_for


class Listener:
    """Keeps every message of the topics it listens to; something else spins its node."""

    def __init__(self, node: Node) -> None:
        """Listen with `node`, to `/diagnostics` from the start."""
        self.node = node
        self.heard: dict[str, list[Any]] = {}
        self.listen(DiagnosticArray, "/diagnostics", event_qos())

    def listen(self, message_type: type, topic: str, qos: Any) -> None:
        """Keep what comes on `topic` from now on."""
        kept: list[Any] = self.heard.setdefault(topic, [])
        self.node.create_subscription(message_type, topic, kept.append, qos)

    def last(self, topic: str) -> Any:
        """Return the newest message of a topic; None when there is none."""
        kept = self.heard[topic]
        return kept[-1] if kept else None

    def call(self, service_type: type, name: str, request: Any, timeout_s: float = 15.0) -> Any:
        """Return the answer of a service.

        Raises:
            AssertionError: if there is none within `timeout_s` [s].
        """
        client = self.node.create_client(service_type, name)
        try:
            if not client.wait_for_service(timeout_s):
                raise AssertionError(f"there is no service {name}")
            future = client.call_async(request)
            wait_for(future.done, f"an answer of {name}", timeout_s)
            return future.result()
        finally:
            self.node.destroy_client(client)

    def finding(self, name: str) -> DiagnosticStatus | None:
        """Return the newest diagnostic status of `<node>: <thing>`."""
        for array in reversed(self.heard["/diagnostics"]):
            for status in array.status:
                if status.name == name:
                    return status
        return None
