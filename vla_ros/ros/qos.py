"""The four quality-of-service profiles of the graph; each stream's choice is made here, once."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from vla_ros.core.conventions import RELIABILITIES
from vla_ros.ros.parameters import ParameterError


def sensor_qos(*, depth: int = 1, reliability: str = "best_effort") -> QoSProfile:
    """Return the profile of sensor streams: only the newest `depth` messages matter.

    Raises:
        ParameterError: if there is no such reliability; lists those there are.
    """
    if reliability not in RELIABILITIES:
        raise ParameterError(
            f"sensor_reliability: expected one of {', '.join(RELIABILITIES)}, got {reliability!r}"
        )
    best_effort = reliability == "best_effort"
    return QoSProfile(
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
    )


def command_qos() -> QoSProfile:
    """Return the profile of commands and chunks: reliable, and an old one is worth nothing."""
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
    )


def latched_qos() -> QoSProfile:
    """Return the profile of state that a late subscriber must know: instruction, status."""
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
    )


def event_qos(depth: int = 50) -> QoSProfile:
    """Return the profile of events of which none may be lost: traces, diagnostics."""
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
    )
