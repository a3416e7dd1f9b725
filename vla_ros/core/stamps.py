"""Stamps of messages as integer nanoseconds; `rclpy`'s and `rosbags`' messages alike."""

from __future__ import annotations

from typing import Any

NANOSECONDS = 1_000_000_000


def to_ns(stamp: Any) -> int:
    """Return a `builtin_interfaces/Time` in [ns] since the epoch of its clock."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)
