"""Does removing what the policy looks at hurt more than removing something else?

python bench/explanation.py [--bundle DIR] [--scenes 200] [--json PATH] [--check]

In scenes that training never saw, the square of the front image that holds the most attention is
removed, and as a control random squares of the same size elsewhere; then the square around the
thing that the pointer means, and those around other things. Damage is how far the chunk and the
found place move. A one-sided Wilcoxon signed-rank test over the scenes says whether the first is
worse than the mean of the others; `p_value` is the largest p of all comparisons. Needs scipy.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import wilcoxon

from vla_ros.cli.measurement import conclude
from vla_ros.core.resources import resource_path
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.evaluation.deletion import (
    CURVE,
    FILLS,
    SIDE_PX,
    DeletionTrial,
    Probe,
    area_under,
    important_patch,
    random_patches,
    region_patches,
)
from vla_ros.evaluation.deprivation import open_policy
from vla_ros.evaluation.plan import SUITES, EvaluationPlan, first_seed
from vla_ros.sim.environment import Environment

COMMAND = "bench/explanation.py"
#: Random patches in each scene.
CONTROLS = 8
DAMAGES = ("chunk_rad", "point_m")
#: What is removed, and in place of what.
Kind = tuple[str, str]
Curves = Mapping[str, Sequence[Sequence[float]]]


def main() -> int:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=resource_path("models/tabletop-small"))
    parser.add_argument("--scenes", type=int, default=200, help="how many, one answer in each")
    parser.add_argument("--seed", type=int, default=0, help="first; added to 1,000,000,000")
    parser.add_argument("--suite", default="core", choices=SUITES, help="which tasks")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must falls short")
    options = parser.parse_args()
    plan = EvaluationPlan(
        suite=options.suite, episodes=options.scenes, first_seed=first_seed(options.seed)
    )
    policy = open_policy(options.bundle)
    assert isinstance(policy, BundlePolicy)  # nothing is taken away from it
    comparisons, curves = measure(policy, plan)
    results = {
        "suite": plan.suite,
        "scenes": plan.episodes,
        "first_seed": plan.first_seed,
        "bundle_sha256": policy.bundle_sha256,
        "patch_px": SIDE_PX,
        "controls": CONTROLS,
        **summarize(comparisons),
        "deletion_auc": {
            name: float(np.mean([area_under(curve) for curve in found]))
            for name, found in curves.items()
        },
        "deletion_curve": {
            "removed": list(CURVE),
            **{name: np.mean(found, axis=0).tolist() for name, found in curves.items()},
        },
    }
    return conclude(
        COMMAND, results, json_path=options.json, check=options.check, table=tabulate(results)
    )


def measure(
    policy: BundlePolicy, plan: EvaluationPlan
) -> tuple[dict[Kind, list[DeletionTrial]], dict[str, list[list[float]]]]:
    """Return what the removals did in each scene, and the deletion curves."""
    comparisons: dict[Kind, list[DeletionTrial]] = {
        (what, fill): [] for what in ("patch", "region") for fill in FILLS
    }
    curves: dict[str, list[list[float]]] = {"attention": [], "random": []}
    environment = Environment()
    scenes = range(plan.episodes)
    for index in track(scenes, description="scenes", console=Console(stderr=True)):
        scene = plan.scene(index)
        probe = Probe(policy, scene.text, environment.reset(scene).observation)
        rng = np.random.default_rng((scene.seed, 47))
        important = important_patch(probe.heat, probe.shape)
        others = random_patches(rng, probe.shape, important, CONTROLS)
        regions = region_patches(probe.grounding, probe.shape)
        for fill in FILLS:
            comparisons["patch", fill].append(probe.compare(important, others, fill))
            if regions is not None:
                comparisons["region", fill].append(probe.compare(*regions, fill))
        order = np.argsort(-probe.heat.sum(0), axis=None)
        curves["attention"].append(probe.curve(order, "median"))
        curves["random"].append(probe.curve(rng.permutation(order), "median"))
    environment.close()
    return comparisons, curves


def summarize(comparisons: Mapping[Kind, Sequence[DeletionTrial]]) -> dict[str, Any]:
    """Return the test of each kind of removal and damage, and the largest p of all."""
    tests = {
        f"{what}_{fill}": {damage: test(found, damage) for damage in DAMAGES}
        for (what, fill), found in comparisons.items()
    }
    values = [row["p_value"] for rows in tests.values() for row in rows.values()]
    return {
        "p_value": float(np.max(values)),  # NaN if one of them is
        "region_scenes": min(len(comparisons["region", fill]) for fill in FILLS),
        "tests": tests,
    }


def test(found: Sequence[DeletionTrial], damage: str) -> dict[str, float]:
    """Return how one kind of damage by what is important compares with that by the others."""
    important = np.array([getattr(pair.important, damage) for pair in found])
    other = np.array([pair.mean_other(damage) for pair in found])
    better = important > other
    p_value = float("nan")
    if (important != other).any():  # else, and of no scene, there is no test
        p_value = float(wilcoxon(important, other, alternative="greater").pvalue)
    return {
        "important": float(np.mean(important)) if len(found) else float("nan"),
        "other": float(np.mean(other)) if len(found) else float("nan"),
        "worse_in": float(np.mean(better)) if len(found) else float("nan"),
        "p_value": p_value,
    }


def tabulate(results: Mapping[str, Any]) -> Table:
    """Return the tests as a table."""
    table = Table(
        "removed",
        "damage",
        "important",
        "others",
        "worse in",
        "p",
        title=f"{COMMAND}: {results['scenes']} scenes, {SIDE_PX} px squares",
        title_justify="left",
    )
    for name, found in results["tests"].items():
        for damage, unit in (("chunk_rad", "mrad"), ("point_m", "mm")):
            row = found[damage]
            table.add_row(
                name.replace("_", ", "),
                f"{damage.partition('_')[0]}, {unit}",
                f"{1e3 * row['important']:.1f}",
                f"{1e3 * row['other']:.1f}",
                f"{100 * row['worse_in']:.0f} %",
                f"{row['p_value']:.1g}",
            )
    auc = results["deletion_auc"]
    table.caption = (
        f"area under the deletion curve: by attention {auc['attention']:.3f}, in random order "
        f"{auc['random']:.3f}"
    )
    return table


if __name__ == "__main__":
    sys.exit(main())
