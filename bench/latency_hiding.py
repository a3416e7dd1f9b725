"""Success and jerk of one flow policy that takes 0 to 300 ms to infer, by how that is hidden.

python bench/latency_hiding.py --policy BUNDLE [--episodes 60] [--delays 0 0.1 0.2 0.3]
    [--json PATH] [--check]

All cells play the same unseen scenes with the same weights. An inference takes one observation;
its chunk reaches the gate so much later in simulated time, and the next inference begins no
earlier. Jerk is the third difference of all commanded joint positions at 100 Hz, behind the gate.
What is left of success at a delay is compared with the same scheduling's without delay. With
--json, the same command goes on where it was stopped. docs/how-to/latency.md says how the policy
is made: it is not shipped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from vla_ros.cli.episode_bar import episode_bar
from vla_ros.cli.measurement import conclude
from vla_ros.engine.scheduling import SCHEDULERS, ScheduleSettings
from vla_ros.evaluation.bundle_facts import bundle_facts
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.report import Report
from vla_ros.evaluation.suite import evaluate

COMMAND = "bench/latency_hiding.py"
#: A must may ask for more.
EPISODES = 60
#: What the musts ask for is played first.
DELAYS_S = (0.0, 0.2, 0.3, 0.1)
#: In the order of the table.
NAMES = ("synchronous", "asynchronous", "ensemble", "real_time", "real_time_trained")
REAL_TIME = ("real_time", "real_time_trained")
#: Draws of the bootstrap of scenes.
DRAWS = 10_000


def main() -> int:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policy", type=Path, required=True, help="bundle with the head flow")
    parser.add_argument("--episodes", type=int, default=EPISODES, help="per cell")
    parser.add_argument("--seed", type=int, default=3000, help="of the first scene")
    parser.add_argument("--delays", type=float, nargs="+", default=DELAYS_S, help="in seconds")
    parser.add_argument("--scheduling", nargs="+", default=NAMES, choices=tuple(SCHEDULERS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--plot", type=Path, help="draw the results here (PNG)")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must falls short")
    arguments = parser.parse_args()
    reports = {
        (name, delay_s): play(arguments, name, delay_s)
        for delay_s in arguments.delays
        for name in arguments.scheduling
    }
    results = summarize(reports) | bundle_facts(arguments.policy)
    if arguments.plot is not None:
        from latency_plot import draw  # matplotlib starts slowly

        draw(results["cells"], arguments.plot)
    status = conclude(
        COMMAND, results, json_path=arguments.json, check=arguments.check, table=table_of(results)
    )
    for path in () if arguments.json is None else logs_of(arguments.json):
        path.unlink()
    return status


def play(arguments: argparse.Namespace, name: str, delay_s: float) -> Report:
    """Play one cell."""
    plan = EvaluationPlan(
        episodes=arguments.episodes,
        first_seed=EvaluationPlan().first_seed + arguments.seed,
        delay_s=delay_s,
        schedule=ScheduleSettings(scheduling=name),
    )
    log = None
    if arguments.json is not None:
        log = arguments.json.with_suffix(f".{name}-{delay_s * 1e3:.0f}.log")
    with episode_bar(plan.episodes) as watch:
        return evaluate(
            arguments.policy,
            plan,
            workers=arguments.workers,
            on_episode=watch(f"{name} {delay_s * 1e3:.0f} ms"),
            log=log,
            keep_log=True,
        )


def logs_of(path: Path) -> list[Path]:
    """Return the logs of finished episodes beside a JSON file."""
    return [each for name in NAMES for each in path.parent.glob(f"{path.stem}.{name}-*.log")]


def summarize(reports: dict[tuple[str, float], Report]) -> dict[str, Any]:
    """Return every cell, and what the musts ask for."""
    cells: dict[str, dict[str, Any]] = {}
    for (name, delay_s), report in sorted(reports.items(), key=lambda item: item[0][1]):
        cells.setdefault(name, {})[f"{delay_s * 1e3:.0f}"] = cell_of(report)
    results: dict[str, Any] = {
        "episodes": min(len(report.results) for report in reports.values()),
        "violations": sum(r.violations for report in reports.values() for r in report.results),
        "cells": cells,
    }
    for (name, delay_s), report in reports.items():
        undelayed = reports.get((name, 0.0))
        if undelayed is None or delay_s == 0.0:
            continue
        at = cells[name][f"{delay_s * 1e3:.0f}"]
        at["kept"], at["kept_low"], at["kept_high"] = kept(undelayed, report)
    for name in (each for each in REAL_TIME if each in cells):
        for delay, own in cells[name].items():
            rivals = [c[delay]["jerk_rms"] for other, c in cells.items() if other not in REAL_TIME]
            if rivals:
                own["times_lowest_rival_jerk"] = own["jerk_rms"] / min(rivals)
    return results


def cell_of(report: Report) -> dict[str, Any]:
    """Return what a cell shows, with 95 % intervals: Wilson's of success, bootstrap's of jerk."""
    facts = report.to_dict()
    squares = np.array([result.jerk_rms**2 for result in report.results])
    drawn = squares[_scenes(len(squares))].mean(1) ** 0.5
    low, high = np.percentile(drawn, (2.5, 97.5))
    names = ("success", "success_low", "success_high", "per_skill", "mean_duration_s")
    return {
        **{name: facts[name] for name in names},
        "jerk_rms": float(squares.mean() ** 0.5),
        "jerk_rms_low": float(low),
        "jerk_rms_high": float(high),
        "jerk_max": max(result.jerk_max for result in report.results),
        "inferences": sum(result.inferences for result in report.results),
        "rejected_chunks": facts["rejected_chunks"],
    }


def kept(undelayed: Report, delayed: Report) -> tuple[float, float, float]:
    """Return the share of the undelayed success that is left, with its 95 % interval.

    The interval is of a bootstrap of scenes, each drawn with both of its results.
    """
    before, after = (
        np.array([result.success for result in report.results], float)
        for report in (undelayed, delayed)
    )
    drawn = _scenes(len(before))
    shares = after[drawn].mean(1) / np.maximum(before[drawn].mean(1), 1e-9)
    low, high = np.percentile(shares, (2.5, 97.5))
    return float(after.mean() / max(before.mean(), 1e-9)), float(low), float(high)


def _scenes(count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.random.default_rng(0).integers(count, size=(DRAWS, count))


def table_of(results: dict[str, Any]) -> Table:
    """Return the cells as a table."""
    table = Table(
        "scheduling",
        "delay ms",
        "success %",
        "kept %",
        "jerk rms",
        "jerk max",
        "duration s",
        title=f"{COMMAND}, {results['episodes']} episodes a cell, jerk in rad/s^3",
    )
    for name, cells in results["cells"].items():
        for delay, cell in cells.items():
            low, high = 100 * cell["success_low"], 100 * cell["success_high"]
            took = cell["mean_duration_s"]
            table.add_row(
                name,
                delay,
                f"{100 * cell['success']:.0f} ({low:.0f}-{high:.0f})",
                f"{100 * cell['kept']:.0f}" if "kept" in cell else "",
                f"{cell['jerk_rms']:.1f} ({cell['jerk_rms_low']:.1f}-{cell['jerk_rms_high']:.1f})",
                f"{cell['jerk_max']:.0f}",
                "" if took is None else f"{took:.1f}",
            )
    return table


if __name__ == "__main__":
    sys.exit(main())
