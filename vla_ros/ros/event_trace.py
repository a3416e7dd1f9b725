"""Events of a node: in its log, and as JSON on a topic."""

from __future__ import annotations

import json

from rclpy.node import Node
from std_msgs.msg import String

from vla_ros.ros.qos import event_qos


class EventTrace:
    """Publishes what happens, in words."""

    def __init__(self, node: Node, topic: str) -> None:
        """Publish on `topic` with `node`."""
        self._node = node
        self._publisher = node.create_publisher(String, topic, event_qos())

    def tell(self, event: str, **details: str) -> None:
        """Log an event and publish it."""
        self._node.get_logger().info(f"{event}: {' '.join(details.values())}")
        stamp_ns = self._node.get_clock().now().nanoseconds
        self._publisher.publish(
            String(data=json.dumps({"stamp_ns": stamp_ns, "event": event, **details}))
        )
