"""Processes that must not outlive the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

#: Set in the environment of a child that is to end when its parent does, even after a kill -9.
FOLLOW_PARENT = "VLA_ROS_FOLLOW_PARENT"


def follow_parent() -> None:
    """Arrange that this process gets SIGTERM when its parent ends, if the parent asked for it."""
    if os.environ.get(FOLLOW_PARENT) and sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
