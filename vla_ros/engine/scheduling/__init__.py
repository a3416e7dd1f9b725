"""How the chunks of a policy that takes its time become smooth motion, one module each."""

from __future__ import annotations

from vla_ros.engine.scheduling.schedule import SCHEDULERS, Schedule, ScheduleSettings
from vla_ros.engine.scheduling.scheduler import Scheduler

__all__ = ["SCHEDULERS", "Schedule", "ScheduleSettings", "Scheduler"]
