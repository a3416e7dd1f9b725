"""Who moves the robot, for a policy that must not go on from what was never executed."""

from __future__ import annotations

from rclpy.node import Node
from vla_ros_interfaces.msg import Acting

from vla_ros.ros.qos import latched_qos
from vla_ros.ros.stamps import to_ns
from vla_ros.safety import Actor


class ActingInput:
    """Listens to `gate/acting`.

    Attributes:
        interrupted: Whether an operator has acted since the policy did last. What the policy
            planned meanwhile was not executed.
    """

    def __init__(self, node: Node) -> None:
        """Listen with `node`."""
        self.interrupted = False
        self._operated = False
        self._let_go_ns = 0
        node.create_subscription(Acting, "gate/acting", self._on_acting, latched_qos())

    def let_go_after(self, stamp_ns: int) -> bool:
        """Return whether an operator acted at a time [ns] in ROS time, and does not any more.

        A chunk from an observation of then does not know where the arm was brought to.
        """
        return stamp_ns < self._let_go_ns

    def _on_acting(self, message: Acting) -> None:
        operates = message.actor == Actor.OPERATOR
        if self._operated and not operates:
            self._let_go_ns = to_ns(message.header.stamp)
        self._operated = operates
        if operates:
            self.interrupted = True
        elif message.actor == Actor.POLICY:
            self.interrupted = False
