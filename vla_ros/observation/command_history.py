"""What the robot was commanded, as the policy is told: live and from a recording alike."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import ObservationError
from vla_ros.core.stamps import to_ns
from vla_ros.observation.joint_messages import CommandReader

Float32Array = NDArray[np.float32]

#: Commands that are kept, and for how long one counts as being in force [ns].
KEPT, IN_FORCE_NS = 64, 500_000_000


class CommandHistory:
    """The last commands, whoever sent them. One thread adds; any may ask.

    A command is in force from the time that it is stamped with, or from its arrival where its type
    has no stamp, the stamp is 0, or it is of another clock.

    Attributes:
        received: Commands that could be used, so far.
    """

    def __init__(self, joint_names: Sequence[str]) -> None:
        """Expect targets of `joint_names`, in this order."""
        self._reader = CommandReader(joint_names)
        self._kept: deque[tuple[int, Float32Array]] = deque(maxlen=KEPT)
        self.received = 0

    def add(self, message: Any, now_ns: int) -> None:
        """Take a message that came at `now_ns` [ns], by the clock of the observations' stamps."""
        try:
            command = self._reader.read(message).astype(np.float32)
        except ObservationError:  # somebody else publishes nonsense there; the driver will say so
            return
        if np.isfinite(command).all():
            self._kept.append((in_force_since(message, now_ns), command))
            self.received += 1

    def at(self, stamp_ns: int) -> Float32Array | None:
        """Return the command in force at a time [ns], (n_joints,) [rad]; None without one."""
        past = [each for each in tuple(self._kept) if each[0] <= stamp_ns]
        if not past:
            return None
        since_ns, command = max(reversed(past), key=lambda each: each[0])
        return command if stamp_ns - since_ns <= IN_FORCE_NS else None


def in_force_since(message: Any, now_ns: int) -> int:
    """Return the time [ns] from which a command that came at `now_ns` [ns] is in force."""
    header = getattr(message, "header", None)
    stamp_ns = to_ns(header.stamp) if header is not None else 0
    return stamp_ns if stamp_ns > 0 and abs(now_ns - stamp_ns) <= IN_FORCE_NS else now_ns
