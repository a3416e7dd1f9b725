"""`vla_ros eval --suite reasoning`: every reasoning suite beside chance and words alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from vla_ros.cli.episode_bar import episode_bar, forget_episodes, log_beside
from vla_ros.cli.measurement import conclude
from vla_ros.core.errors import UserError
from vla_ros.evaluation.bundle_facts import bundle_facts
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.reasoning import ABSENT, measure_reasoning, summarize
from vla_ros.sim.reasoning import REASONING_SUITES

REASONING = "reasoning"
COMMAND = "vla_ros eval --suite reasoning"
REFUSAL_COMMAND = "vla_ros eval --suite absent"


def is_reasoning(suite: str) -> bool:
    """Whether a suite is one of those that are measured here."""
    return suite == REASONING or suite in REASONING_SUITES


def evaluate_reasoning(
    bundle: Path,
    plan: EvaluationPlan,
    suite: str,
    *,
    blind: bool,
    workers: int,
    json: Path | None,
    check: bool,
) -> int:
    """Play one suite, or all of them; print the table; return the exit status."""
    if check and suite not in (REASONING, ABSENT):
        raise UserError(
            f"--check: there are musts for --suite {REASONING}, which plays all of them, and for "
            f"--suite {ABSENT}; there are none for {suite} alone"
        )
    suites = REASONING_SUITES if suite == REASONING else (suite,)
    rounds = len(suites) * (2 if blind else 1)
    with episode_bar(rounds * plan.episodes) as watch:
        found = measure_reasoning(
            bundle, plan, suites, blind=blind, workers=workers, log=log_beside(json), watch=watch
        )
    results = summarize(found) | bundle_facts(bundle)
    if suite == ABSENT:
        results |= {"success": results["mean"], **results["suites"][ABSENT]}
    command = REFUSAL_COMMAND if suite == ABSENT else COMMAND
    status = conclude(
        command,
        results,
        json_path=json,
        check=check,
        table=reasoning_table(results),
    )
    forget_episodes(json)
    return status


def reasoning_table(results: Mapping[str, Any]) -> Table:
    """Return each suite's success beside what a guess and words alone reach."""
    table = Table(
        "suite",
        "success",
        "95 % interval",
        "chance",
        "noun alone",
        "text only",
        title=f"{COMMAND}: {results['episodes']} episodes each, split {results['split']}",
        title_justify="left",
    )
    for name, row in results["suites"].items():
        low, high = row["success_low"], row["success_high"]
        blind = row.get("text_only")
        table.add_row(
            name,
            f"{100 * row['success']:.1f} %",
            f"{100 * low:.0f} to {100 * high:.0f}",
            f"{100 * row['chance']:.0f} %",
            f"{100 * row['noun_chance']:.0f} %",
            "" if blind is None else f"{100 * blind:.1f} %",
        )
    table.add_row("mean", f"{100 * results['mean']:.1f} %")
    absent = results["suites"].get(ABSENT)
    if absent is not None:
        table.caption = (
            f"absent refused {100 * absent['absent_refused']:.1f} %, present refused "
            f"{100 * absent['present_refused']:.1f} %, AUROC of the score {absent['auroc']:.3f}, "
            f"calibration error {absent['calibration_error']:.3f}"
        )
    return table
