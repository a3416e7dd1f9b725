"""Integer nanoseconds to and from `builtin_interfaces/Time`."""

from __future__ import annotations

from builtin_interfaces.msg import Time

from vla_ros.core.stamps import NANOSECONDS, to_ns

__all__ = ["NANOSECONDS", "to_ns", "to_time"]


def to_time(stamp_ns: int) -> Time:
    """Return the message of a stamp in [ns]."""
    sec, nanosec = divmod(stamp_ns, NANOSECONDS)
    return Time(sec=sec, nanosec=nanosec)
