"""What an impairment costs: the same episodes are played without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from vla_ros.cli.episode_bar import episode_bar, log_beside
from vla_ros.cli.robustness import describe_patch
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.report import Report
from vla_ros.evaluation.robustness import compare
from vla_ros.evaluation.suite import evaluate as play


def play_directly(
    what: str, bundle: Path, plan: EvaluationPlan, workers: int, json: Path | None
) -> Report:
    """Play a plan in this process and its workers, with a bar that says what is played."""
    log = log_beside(json, f".{what.replace(' ', '-')}")
    with episode_bar(plan.episodes) as watch:
        return play(bundle, plan, workers=workers, on_episode=watch(what), log=log, keep_log=True)


def cost_of_impairment(
    bundle: Path, report: Report, workers: int, json: Path | None
) -> dict[str, Any]:
    """Play the same episodes with good senses; return what the report's bad ones cost."""
    plan = replace(report.plan, without=(), disturb=())
    clean = play_directly("all sensors", bundle, plan, workers, json)
    found = compare(clean, report)
    cost: dict[str, Any] = {
        "success_with_everything": clean.success,
        **{key: value for key, value in found.items() if key.startswith("points_lost")},
    }
    if report.plan.disturb:
        cost["robustness"] = {"+".join(report.plan.disturb): found}
    if "adversarial_patch" in report.plan.disturb:
        cost |= describe_patch(report.plan.patch, report.bundle_sha256)
    return cost


def cost_of_reuse(bundle: Path, report: Report, workers: int, json: Path | None) -> dict[str, Any]:
    """Play the same episodes with an inference each time; return what saving them costs."""
    plan = replace(report.plan, adaptive=False)
    always = play_directly("inferring always", bundle, plan, workers, json)
    found = compare(always, report)
    return {
        "success_inferring_always": always.success,
        **{key: value for key, value in found.items() if key.startswith("points_lost")},
    }
