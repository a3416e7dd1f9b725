"""`vla_ros eval --suite robustness`: the table of what each disturbance costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vla_ros.cli.episode_bar import episode_bar
from vla_ros.cli.measurement import conclude
from vla_ros.core.resources import resource_path
from vla_ros.evaluation.bundle_facts import bundle_facts
from vla_ros.evaluation.disturbance import DISTURBANCES
from vla_ros.evaluation.disturbance.patch import SHIPPED, patch_bundle
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.robustness import CLEAN, measure_robustness

COMMAND = "vla_ros eval --suite robustness"

Row = Mapping[str, float]


def evaluate_robustness(
    bundle: Path,
    plan: EvaluationPlan,
    *,
    workers: int,
    json: Path | None,
    log: Path | None,
    check: bool,
) -> int:
    """Play the plan clean and under each disturbance; print the table; return the exit status."""
    rows = 1 + len(plan.disturb or DISTURBANCES)
    with episode_bar(rows * plan.episodes) as watch:
        found = measure_robustness(bundle, plan, workers=workers, log=log, watch=watch)
    results = found.to_dict() | bundle_facts(bundle)
    if "adversarial_patch" in found.disturbed:
        results |= describe_patch(plan.patch, results["bundle_sha256"])
    return conclude(COMMAND, results, json_path=json, check=check, table=robustness_table(results))


def robustness_table(results: Mapping[str, Any]) -> Table:
    """Return what each disturbance does to the success, in the order in which they were played."""
    table = Table(
        "disturbance",
        "success",
        "points lost",
        "95 % interval",
        title=f"{COMMAND}: {results['episodes']} episodes each",
        title_justify="left",
    )
    table.add_row(CLEAN, f"{100 * results['success']:.1f} %", "", "")
    rows: Mapping[str, Row] = results["robustness"]
    for name, row in rows.items():
        low, high = row["points_lost_low"], row["points_lost_high"]
        table.add_row(
            name,
            f"{100 * row['success']:.1f} %",
            f"{row['points_lost']:.1f}",
            f"{low:.1f} to {high:.1f}",
        )
    return table


def describe_patch(patch: Path | None, bundle_sha256: str) -> dict[str, Any]:
    """Return against which bundle the patch was made, and say so if it was another one."""
    path = patch or resource_path(SHIPPED)
    made_against = patch_bundle(path)
    if made_against != bundle_sha256:
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            f"{path.name} was made against another policy than this one: a patch of its own, by "
            "`vla_ros patch`, would do more harm"
        )
    return {"patch_bundle_sha256": made_against}
