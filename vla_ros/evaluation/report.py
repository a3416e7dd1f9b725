"""What an evaluation found, as numbers that a table, a JSON file and the musts read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vla_ros.evaluation.episode import EpisodeResult
from vla_ros.evaluation.plan import EvaluationPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Results of an evaluation.

    Attributes:
        plan: What was played.
        bundle: Name of the policy.
        bundle_sha256: Its hash.
        results: One per episode, in the plan's order.
    """

    plan: EvaluationPlan
    bundle: str
    bundle_sha256: str
    results: tuple[EpisodeResult, ...]

    @property
    def success(self) -> float:
        """Share of the episodes that succeeded, 0 to 1."""
        return share([result.success for result in self.results])

    def per_skill(self) -> dict[str, float]:
        """Return the share of each skill's episodes that succeeded."""
        skills = sorted({result.skill for result in self.results}, key=self._first)
        return {
            skill: share([r.success for r in self.results if r.skill == skill]) for skill in skills
        }

    def _first(self, skill: str) -> int:
        return next(result.index for result in self.results if result.skill == skill)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        results, plan = self.results, self.plan
        good = [result for result in results if result.success]
        low, high = wilson_interval(len(good), len(results))
        return {
            "success": self.success,
            "success_low": low,
            "success_high": high,
            "episodes": len(results),
            "per_skill": self.per_skill(),
            "violations": sum(result.violations for result in results),
            "commands": sum(result.commands for result in results),
            "missed_commands": sum(result.missed_commands for result in results),
            "rejected_chunks": sum(result.rejected_chunks for result in results),
            "moved_another": share([result.moved_another for result in results]),
            "done_signal_agrees": share([r.said_done == r.success for r in results]),
            "mean_duration_s": mean([r.duration_s for r in good]) if good else None,
            "suite": plan.suite,
            "split": plan.split,
            "phrasings": None if plan.phrasings is None else str(plan.phrasings),
            "ablate": plan.ablate,
            "without": list(plan.without),
            "disturb": list(plan.disturb),
            "backend": plan.backend,
            "seeds": [plan.first_seed, plan.first_seed + plan.episodes - 1],
            "bundle": self.bundle,
            "bundle_sha256": self.bundle_sha256,
            **self._saved(),
            **self._delayed(),
            "failures": [
                {
                    "seed": result.seed,
                    "skill": result.skill,
                    "instruction": result.instruction,
                    "reason": result.reason,
                }
                for result in results
                if not result.success
            ],
        }

    def _delayed(self) -> dict[str, Any]:
        """Return how the chunks of a policy that takes its time became motion, and how smooth."""
        plan = self.plan
        if not plan.takes_time:
            return {}
        return {
            "delay_s": plan.delay_s,
            "scheduling": plan.schedule.scheduling,
            "deadline_s": plan.schedule.deadline_s,
            "inferences": sum(result.inferences for result in self.results),
            "missed_deadlines": sum(result.misses for result in self.results),
            "jerk_rms": math.sqrt(mean([result.jerk_rms**2 for result in self.results])),
            "jerk_max": max((result.jerk_max for result in self.results), default=0.0),
        }

    def _saved(self) -> dict[str, Any]:
        """Return how many inferences an adaptive policy saved; nothing of another one."""
        if not self.plan.adaptive:
            return {}
        observations = sum(result.observations for result in self.results)
        inferences = sum(result.inferences for result in self.results)
        saved = 1.0 - inferences / observations if observations else 0.0
        return {
            "adaptive": True,
            "observations": observations,
            "inferences": inferences,
            "inferences_saved": saved,
        }


def share(values: Sequence[bool]) -> float:
    """Return the share of true values; 0 of none."""
    return mean([float(value) for value in values])


def mean(values: Sequence[float]) -> float:
    """Return the mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a rate (Wilson 1927), which stays within 0 to 1.

    Args:
        successes: Of the trials.
        trials: In all.
        z: Quantile of the normal distribution.
    """
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    scale = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / scale
    spread = z / scale * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - spread), min(1.0, centre + spread)
