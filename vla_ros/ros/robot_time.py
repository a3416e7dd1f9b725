"""The time that control runs on, and how stamps of messages are seen on it."""

from __future__ import annotations

import time

from rclpy.node import Node


class RobotTime:
    """Monotonic time, or the simulation's where `use_sim_time` is set.

    Stamps in messages are ROS time, which is the wall clock: it can be set while the robot moves.
    So a stamp is turned into an age once, when the message arrives, and control goes on in a time
    that never jumps. Under simulation time both are the same clock, which may be paused.
    """

    def __init__(self, node: Node) -> None:
        """Follow the clock of `node`."""
        self._clock = node.get_clock()
        self._simulated = bool(node.get_parameter("use_sim_time").value)

    def now_ns(self) -> int:
        """Return the present in [ns]."""
        if self._simulated:
            return int(self._clock.now().nanoseconds)
        return time.monotonic_ns()

    def at(self, monotonic_ns: int) -> int:
        """Return this time at a moment of the monotonic clock that is about to come [ns]."""
        return int(self._clock.now().nanoseconds) if self._simulated else monotonic_ns

    def from_stamp(self, stamp_ns: int) -> int:
        """Return where a stamp [ns] lies on this time; call it when the message arrives."""
        if self._simulated:
            return stamp_ns
        return time.monotonic_ns() - (int(self._clock.now().nanoseconds) - stamp_ns)

    def to_stamp(self, time_ns: int) -> int:
        """Return the message stamp [ns] of a time [ns]."""
        if self._simulated:
            return time_ns
        return int(self._clock.now().nanoseconds) - (time.monotonic_ns() - time_ns)
