"""Integer nanoseconds to and from `builtin_interfaces/Time`."""

from __future__ import annotations

from builtin_interfaces.msg import Time

NANOSECONDS = 1_000_000_000


def to_ns(stamp: Time) -> int:
    """Return the stamp in [ns] since the epoch of its clock."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def to_time(stamp_ns: int) -> Time:
    """Return the message of a stamp in [ns]."""
    sec, nanosec = divmod(stamp_ns, NANOSECONDS)
    return Time(sec=sec, nanosec=nanosec)
