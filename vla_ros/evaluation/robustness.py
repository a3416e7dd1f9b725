"""The same episodes clean and under every disturbance: how many points each one costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vla_ros.core.errors import UserError
from vla_ros.evaluation.disturbance import DISTURBANCES
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.report import Report, wilson_interval
from vla_ros.evaluation.suite import OnEpisode, evaluate

#: The row of the table that nothing disturbs.
CLEAN = "clean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Robustness:
    """What was found without and with each disturbance, on the same episodes.

    Attributes:
        clean: Without any.
        disturbed: By the name of the disturbance.
    """

    clean: Report
    disturbed: Mapping[str, Report]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data.

        The clean evaluation's own, with `robustness` by disturbance; episodes, commands,
        violations and the like are counted over all.
        """
        reports = [report.to_dict() for report in (self.clean, *self.disturbed.values())]
        counted = ("commands", "missed_commands", "violations", "rejected_chunks")
        return {
            **reports[0],
            **{key: sum(report[key] for report in reports) for key in counted},
            "suite": "robustness",
            "robustness": {
                name: compare(self.clean, report) for name, report in self.disturbed.items()
            },
        }


def compare(clean: Report, disturbed: Report) -> dict[str, float]:
    """Return the success under a disturbance, and the points lost, with 95 % intervals.

    Points are percentage points; their interval is the paired one, as both reports are of the
    same episodes. Below 0 the disturbance helped.
    """
    before = [result.success for result in clean.results]
    after = [result.success for result in disturbed.results]
    low, high = wilson_interval(sum(after), len(after))
    lost, lost_low, lost_high = paired_difference(before, after)
    return {
        "success": disturbed.success,
        "success_low": low,
        "success_high": high,
        "points_lost": 100.0 * lost,
        "points_lost_low": 100.0 * lost_low,
        "points_lost_high": 100.0 * lost_high,
    }


def paired_difference(before: Sequence[bool], after: Sequence[bool]) -> tuple[float, float, float]:
    """Return how much the rate fell on the same trials, and its 95 % interval.

    Newcombe's method 10 for paired proportions (Statistics in Medicine 1998): the Wilson
    intervals of both rates, joined with regard to how the outcomes go together.

    Args:
        before: Outcomes of the trials.
        after: Of the same trials, in the same order.
    """
    if len(before) != len(after) or not before:
        raise ValueError(f"expected as many trials, got {len(before)} and {len(after)}")
    n = len(before)
    both = sum(x and y for x, y in zip(before, after, strict=True))
    first, second = sum(before), sum(after)
    p, q = first / n, second / n
    p_low, p_high = wilson_interval(first, n)
    q_low, q_high = wilson_interval(second, n)
    phi = _correlation(both, first, second, n)
    down, up = (p - p_low, q_high - q), (p_high - p, q - q_low)
    lower = p - q - math.sqrt(max(0.0, down[0] ** 2 - 2 * phi * down[0] * down[1] + down[1] ** 2))
    upper = p - q + math.sqrt(max(0.0, up[0] ** 2 - 2 * phi * up[0] * up[1] + up[1] ** 2))
    return p - q, lower, upper


def _correlation(both: int, first: int, second: int, n: int) -> float:
    """Return how outcomes go together, with Newcombe's correction for continuity."""
    spread = first * (n - first) * second * (n - second)
    if spread == 0:
        return 0.0
    covariance = float(both * (n - first - second + both) - (first - both) * (second - both))
    if covariance > 0:
        covariance = max(covariance - n / 2, 0.0)
    return covariance / math.sqrt(spread)


def measure_robustness(
    bundle: Path,
    plan: EvaluationPlan,
    *,
    workers: int = 2,
    log: Path | None = None,
    watch: Callable[[str], OnEpisode] | None = None,
) -> Robustness:
    """Play a plan's episodes clean and under each disturbance.

    Args:
        bundle: Directory of the policy.
        plan: What is played; its `disturb` picks disturbances, and none picks all.
        workers: Processes.
        log: Beside it lies one file per row, `log` with the row's name appended, until all are
            whole; what is in them is not played again.
        watch: Called with each row's name as it begins; returns what hears of its episodes.

    Raises:
        BundleError: if the bundle cannot be used.
        UserError: if a disturbance is picked twice.
    """
    names = plan.disturb or tuple(DISTURBANCES)
    if len(set(names)) < len(names):
        raise UserError(f"--disturb names one twice: {', '.join(names)}")
    reports: dict[str, Report] = {}
    for name in (CLEAN, *names):
        reports[name] = evaluate(
            bundle,
            replace(plan, disturb=() if name == CLEAN else (name,)),
            workers=workers,
            on_episode=None if watch is None else watch(name),
            log=None if log is None else _log_of(log, name),
            keep_log=True,
        )
    for name in reports:
        if log is not None:
            _log_of(log, name).unlink(missing_ok=True)
    return Robustness(clean=reports.pop(CLEAN), disturbed=reports)


def _log_of(log: Path, name: str) -> Path:
    return log.with_name(f"{log.name}.{name}")
