"""What goes wrong with a robot's senses, one class per kind, all listed in one registry."""

from __future__ import annotations

from vla_ros.evaluation.disturbance.base import Disturbance, Filter
from vla_ros.evaluation.disturbance.environment import DisturbedEnvironment
from vla_ros.evaluation.disturbance.registry import DISTURBANCES, find_disturbances

__all__ = [
    "DISTURBANCES",
    "Disturbance",
    "DisturbedEnvironment",
    "Filter",
    "find_disturbances",
]
