"""Changes the stamp of a message without decoding it."""

from __future__ import annotations

import struct

from vla_ros.core.stamps import NANOSECONDS


def with_stamp(data: bytes, stamp_ns: int) -> bytes:
    """Return a message that begins with a header, with another stamp [ns].

    CDR: four bytes that say the order of bytes, then `int32 sec`, `uint32 nanosec`.
    """
    order = "<" if data[1] & 1 else ">"
    return data[:4] + struct.pack(f"{order}iI", *divmod(stamp_ns, NANOSECONDS)) + data[12:]
