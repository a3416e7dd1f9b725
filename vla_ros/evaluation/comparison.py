"""Runs side by side: what each policy is, and how often it succeeds on what."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vla_ros.evaluation.report import wilson_interval

CORE = "core"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """Which episodes were played; None is not known.

    Attributes:
        episodes: How many.
        first_seed: Of the first one.
    """

    episodes: int | None = None
    first_seed: int | None = None

    def __str__(self) -> str:
        """Return it in words."""
        count = "an unknown number of" if self.episodes is None else str(self.episodes)
        seeds = "" if self.first_seed is None else f" from seed {self.first_seed}"
        return f"{count} episodes{seeds}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Share of successes on one suite.

    Attributes:
        success: 0 to 1.
        low: Of its 95 % interval; None if it is not known.
        high: Likewise.
        scenes: What was played.
    """

    success: float
    low: float | None = None
    high: float | None = None
    scenes: Scenes = field(default_factory=Scenes)

    @staticmethod
    def of(row: Mapping[str, Any], scenes: Scenes) -> Score:
        """Return the score in a result; an interval that it lacks follows from the episodes."""
        success = float(row["success"])
        low, high = row.get("success_low"), row.get("success_high")
        if (low is None or high is None) and scenes.episodes and math.isfinite(success):
            low, high = wilson_interval(round(success * scenes.episodes), scenes.episodes)
        return Score(success=success, low=low, high=high, scenes=scenes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One row of a comparison.

    Attributes:
        name: Where it is from.
        fusion: How the policy mixes its senses; "" if it is not known.
        parameters: How many it has.
        latency_ms: Of one inference.
        overall: Success on the core suite, else the mean over the suites.
        suites: Score by suite.
        points_lost: By disturbance.
    """

    name: str
    fusion: str = ""
    parameters: int | None = None
    latency_ms: float | None = None
    overall: Score | None = None
    suites: Mapping[str, Score] = field(default_factory=dict)
    points_lost: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: In the order in which they were named.
        skipped: JSON files in the folders that hold no results of an evaluation.
    """

    runs: tuple[Run, ...]
    skipped: tuple[Path, ...] = ()

    @property
    def suites(self) -> tuple[str, ...]:
        """Every suite that a run was measured on, the core suite first."""
        names = dict.fromkeys(name for run in self.runs for name in run.suites)
        return tuple(sorted(names, key=lambda name: name != CORE))

    @property
    def disturbances(self) -> tuple[str, ...]:
        """Every disturbance that a run was measured under."""
        return tuple(dict.fromkeys(name for run in self.runs for name in run.points_lost))

    def usual(self, suite: str) -> Scenes | None:
        """Return the scenes that most runs played of a suite, the first of equally many."""
        played = [run.suites[suite].scenes for run in self.runs if suite in run.suites]
        return Counter(played).most_common(1)[0][0] if played else None

    def strange(self, run: Run, suite: str) -> bool:
        """Whether a run played other scenes of a suite than most."""
        return suite in run.suites and run.suites[suite].scenes != self.usual(suite)
