"""`policy/attention/<camera>`: what a policy looks at, drawn only while somebody watches."""

from __future__ import annotations

from rclpy.node import Node
from sensor_msgs.msg import Image

from vla_ros.contract import FeatureKind, RobotContract
from vla_ros.core.protocols import Attentive, Policy
from vla_ros.core.types import Observation
from vla_ros.ros.images import write_image
from vla_ros.ros.qos import command_qos


class AttentionPublisher:
    """One image topic for each colour camera of a contract."""

    def __init__(self, node: Node, contract: RobotContract) -> None:
        """Publish with `node`. Reliable, so that every viewer can subscribe as it likes."""
        self._node = node
        self._broken: Policy | None = None
        self._topics = {
            spec.camera: (
                node.create_publisher(Image, f"policy/attention/{spec.camera}", command_qos()),
                spec.frame,
            )
            for spec in contract.observations
            if spec.kind is FeatureKind.IMAGE
        }

    def publish(self, policy: Policy, observation: Observation) -> None:
        """Show what `policy` looked at; called after it inferred, when its chunk is on its way.

        A policy that cannot draw still acts: its error is logged once, and no more is drawn of it.
        """
        if not isinstance(policy, Attentive) or policy is self._broken:
            return
        for camera, (publisher, frame) in self._topics.items():
            if not publisher.get_subscription_count():
                continue
            try:
                drawn = policy.draw_attention(observation, camera)
            except Exception as error:  # noqa: BLE001 a picture for people must not stop the policy
                self._broken = policy
                self._node.get_logger().error(f"policy/attention/{camera}: {error!r}; no more")
                return
            if drawn is not None:
                publisher.publish(
                    write_image(
                        drawn, encoding="rgb8", stamp_ns=observation.stamp_ns, frame_id=frame
                    )
                )
