"""The reasoning suites: what each asks for, beside chance and beside words alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.evaluation.episode import EpisodeResult
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.report import Report, mean, share, wilson_interval
from vla_ros.evaluation.suite import OnEpisode, evaluate
from vla_ros.sim.reasoning import REASONING_SUITES

ABSENT = "absent"
BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResult:
    """One suite.

    Attributes:
        seen: The policy's own results.
        blind: Those of the policy that is told the same and sees another table; None if not
            played.
    """

    seen: Report
    blind: Report | None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        good = [result.success for result in self.seen.results]
        low, high = wilson_interval(sum(good), len(good))
        chance = mean([result.chance for result in self.seen.results])
        noun_chance = mean([result.noun_chance for result in self.seen.results])
        row: dict[str, Any] = {
            "success": self.seen.success,
            "success_low": low,
            "success_high": high,
            "episodes": len(good),
            "chance": chance,
            "times_chance": self.seen.success / chance if chance else None,
            "noun_chance": noun_chance,
            "above_noun_chance": self.seen.success - noun_chance,
            "violations": sum(result.violations for result in self.seen.results),
            "commands": sum(result.commands for result in self.seen.results),
        }
        if self.blind is not None:
            row["text_only"] = self.blind.success
            row["above_text_only"] = self.seen.success - self.blind.success
        if self.seen.plan.suite == ABSENT:
            row |= refusal(self.seen.results)
        return row


def refusal(results: Sequence[EpisodeResult]) -> dict[str, float]:
    """Return how well what is not there is told from what is, over episodes of both kinds."""
    absent = [result for result in results if result.absent]
    present = [result for result in results if not result.absent]
    return {
        "absent_refused": share([result.refused for result in absent]),
        "present_refused": share([result.refused for result in present]),
        "auroc": auroc(
            [result.grounding for result in present], [result.grounding for result in absent]
        ),
        **calibration(
            [result.grounding for result in results], [not result.absent for result in results]
        ),
    }


def calibration(chances: Sequence[float], outcomes: Sequence[bool]) -> dict[str, float]:
    """Return how far chances are from how often it was so.

    The Brier score (1950) is the mean squared error; the expected calibration error (Guo et al.
    2017) the mean distance of chance and frequency over `BINS` bins as wide as each other.
    """
    said, so = np.asarray(chances, float), np.asarray(outcomes, float)
    if len(said) == 0:
        return {"brier": float("nan"), "calibration_error": float("nan")}
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    apart = [abs(said[bins == each].sum() - so[bins == each].sum()) for each in range(BINS)]
    return {
        "brier": float(((said - so) ** 2).mean()),
        "calibration_error": float(sum(apart) / len(said)),
    }


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return the chance that a positive scores above a negative; ties count half."""
    if len(positive) == 0 or len(negative) == 0:
        return float("nan")
    high, low = np.asarray(positive)[:, None], np.asarray(negative)[None]
    return float(((high > low) + 0.5 * (high == low)).mean())


def measure_reasoning(
    bundle: Path,
    plan: EvaluationPlan,
    suites: Sequence[str] = REASONING_SUITES,
    *,
    blind: bool,
    workers: int,
    log: Path | None = None,
    watch: Callable[[str], OnEpisode] | None = None,
) -> dict[str, SuiteResult]:
    """Play suites one after the other.

    Args:
        bundle: Directory of the policy.
        plan: What is the same in all: split, seeds, and the episodes of each suite.
        suites: Names.
        blind: Whether to play the text-only baseline as well.
        workers: Processes.
        log: Beside it, every suite keeps its finished episodes until all are played.
        watch: Returns what is called with every episode of a suite.
    """
    found = {}
    for suite in suites:
        ways: Mapping[str, EvaluationPlan] = {suite: replace(plan, suite=suite)}
        if blind:
            ways = {**ways, f"{suite}, blind": replace(plan, suite=suite, ablate="vision")}
        reports = [
            evaluate(
                bundle,
                each,
                workers=workers,
                on_episode=None if watch is None else watch(name),
                log=None if log is None else log.with_name(f"{log.name}.{each.ablate}.{suite}"),
                keep_log=True,
            )
            for name, each in ways.items()
        ]
        found[suite] = SuiteResult(seen=reports[0], blind=reports[1] if blind else None)
    return found


def summarize(found: Mapping[str, SuiteResult]) -> dict[str, Any]:
    """Return all suites as plain data, with what the musts look at."""
    rows = {name: result.to_dict() for name, result in found.items()}
    first = next(iter(found.values())).seen
    summary: dict[str, Any] = {
        "mean": mean([row["success"] for row in rows.values()]),
        "suites": rows,
        "times_chance": {name: row["times_chance"] for name, row in rows.items()},
        "above_noun_chance": {name: row["above_noun_chance"] for name, row in rows.items()},
        "violations": sum(row["violations"] for row in rows.values()),
        "commands": sum(row["commands"] for row in rows.values()),
        "split": first.plan.split,
        "episodes": first.plan.episodes,
        "seeds": [first.plan.first_seed, first.plan.first_seed + first.plan.episodes - 1],
        "bundle": first.bundle,
        "bundle_sha256": first.bundle_sha256,
        "failures": [
            {"suite": name, "seed": result.seed, "instruction": result.instruction}
            | {"reason": result.reason}
            for name, each in found.items()
            for result in each.seen.results
            if not result.success
        ],
    }
    if all("above_text_only" in row for row in rows.values()):
        summary["above_text_only"] = {n: row["above_text_only"] for n, row in rows.items()}
    return summary
