"""Checks of recorded episodes: what is wrong in them, how good each is, and what can be mended."""

from vla_ros.data.quality.checker import QualityReport, check_recordings, compare_episodes
from vla_ros.data.quality.finding import Finding, Severity
from vla_ros.data.quality.inspection import EPISODE_CHECKS, Inspection, inspect_episode
from vla_ros.data.quality.thresholds import Thresholds

__all__ = [
    "EPISODE_CHECKS",
    "Finding",
    "Inspection",
    "QualityReport",
    "Severity",
    "Thresholds",
    "check_recordings",
    "compare_episodes",
    "inspect_episode",
]
