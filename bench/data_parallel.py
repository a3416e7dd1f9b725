"""Whether several processes learn what one learns: the same losses from the same total batch.

python bench/data_parallel.py [--steps 400] [--seeds 3] [--processes 2] [--json PATH] [--check]

Trains the hand on bare states that it collects itself, with one process and with several that
share the batch, each with every seed. A difference is noise if it lies in the 95 % interval
(Student, pooled variance, Bonferroni for all terms and windows) that the seeds leave around zero;
one other seed alone would call equals different too often. On 2 cores that nobody else
uses it takes ten minutes. --data trains on a folder of shards instead.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from scipy.stats import t as student

from vla_ros.cli.measurement import conclude
from vla_ros.core.resources import resource_path
from vla_ros.learning.collection import CollectionConfig, collect
from vla_ros.learning.process_launch import run_processes
from vla_ros.learning.recipes import tabletop_small
from vla_ros.learning.training import Trainer
from vla_ros.learning.training_config import TrainingConfig

COMMAND = "bench/data_parallel.py"
EPISODES = 200
#: Of no training data or test.
FIRST_SEED = 900_000_000
#: What is compared, of the terms of the loss.
TERMS = ("state_action", "state_progress", "text")
#: The first steps of a curve are not compared: they depend on the very first batches.
WARM_UP = 0.25
WINDOWS = 3
CONFIDENCE = 0.95  # that none of all comparisons of equals calls them different

Curve = list[dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to train."""

    seed: int
    processes: int


def main() -> int:
    """Train, compare, print, write, check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=400, help="of each run")
    parser.add_argument("--seeds", type=int, default=3, help="of each way, 2 or more")
    parser.add_argument("--processes", type=int, default=2, help="that share a batch")
    parser.add_argument("--data", type=Path, help="folder of shards; collected if not given")
    parser.add_argument("--episodes", type=int, default=16, help="per step, in all")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must falls short")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds: a single seed tells nothing of the noise; give 2 or more")
    ways = {
        "one process": [Way(seed=seed, processes=1) for seed in range(arguments.seeds)],
        f"{arguments.processes} processes": [
            Way(seed=seed, processes=arguments.processes) for seed in range(arguments.seeds)
        ],
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = arguments.data or _collect(folder / "data")
        config = TrainingConfig(
            data=(data,),
            output=folder,
            language=resource_path("models/tabletop-small"),
            steps=arguments.steps,
            images=0,
            episodes=arguments.episodes,
            sentences=2000,
            checkpoint_every=arguments.steps,
            device="cpu",
            threads=1,
        )
        one, several = ([_train(way, config, folder) for way in group] for group in ways.values())
    results = compare(one, several)
    results |= {key: getattr(arguments, key) for key in ("steps", "seeds", "processes")}
    return conclude(
        COMMAND,
        results,
        json_path=arguments.json,
        check=arguments.check,
        table=_table(list(ways), results),
    )


def compare(one: Sequence[Curve], several: Sequence[Curve]) -> dict[str, Any]:
    """Return smoothed losses of both, and how far apart they are, beside what noise explains.

    Each curve, one a seed, is cut into windows, over which every term is averaged; differences are
    between the means of the seeds, relative to those of one process.
    """
    comparisons = len(TERMS) * WINDOWS
    freedom = len(one) + len(several) - 2
    quantile = student.ppf(1 - (1 - CONFIDENCE) / 2 / comparisons, freedom)
    losses: list[dict[str, list[float]]] = [{}, {}]
    apart, noise, within = {}, {}, []
    for term in TERMS:
        a, b = (np.array([_smoothed(curve, term) for curve in way]) for way in (one, several))
        means = a.mean(0), b.mean(0)
        squares = ((a - means[0]) ** 2).sum(0) + ((b - means[1]) ** 2).sum(0)
        margin = quantile * np.sqrt(squares / freedom * (1 / len(a) + 1 / len(b)))
        difference = np.abs(means[1] - means[0])
        apart[term] = float((difference / means[0]).max())
        noise[term] = float((margin / means[0]).max())
        within.append(bool((difference <= margin).all()))
        for way, mean in zip(losses, means, strict=True):
            way[term] = [float(value) for value in mean]
    return {
        "losses": losses,
        "apart": apart,
        "noise": noise,
        "largest_apart": max(apart.values()),
        "largest_noise": max(noise.values()),
        "within_noise": all(within),
    }


def _smoothed(curve: Curve, term: str) -> np.ndarray:
    """Return the mean of a term over the windows after the warm-up, shape (WINDOWS,)."""
    values = np.array([step[term] for step in curve])
    edges = np.linspace(WARM_UP * len(values), len(values), WINDOWS + 1).astype(int)
    return np.array([values[first:last].mean() for first, last in pairwise(edges)])


def _collect(folder: Path) -> Path:
    print(f"collecting {EPISODES} episodes", file=sys.stderr)
    config = CollectionConfig(
        directory=folder, episodes=EPISODES, first_seed=FIRST_SEED, image_probability=0.0
    )
    for _ in collect(config, workers=len(os.sched_getaffinity(0))):
        pass
    return folder


def _train(way: Way, config: TrainingConfig, folder: Path) -> Curve:
    """Train in one way; return the losses of every step."""
    print(f"training: {way.processes} processes, seed {way.seed}", file=sys.stderr)
    output = folder / f"{way.processes}-{way.seed}"
    output.mkdir()
    sentences = folder / "sentences.npz"
    if sentences.exists():
        (output / sentences.name).hardlink_to(sentences)
    run = replace(config, output=output, seed=way.seed, processes=way.processes)
    status = work(run) if way.processes == 1 else run_processes(way.processes, work, run)
    if status:
        sys.exit(f"training with {way} failed: {status}")
    if not sentences.exists():
        sentences.hardlink_to(output / sentences.name)
    curve: Curve = json.loads((output / "curve.json").read_text())
    return curve


def work(config: TrainingConfig) -> int:
    """Be one process of a run; the main one writes the losses."""
    torch.set_num_threads(config.threads)
    trainer = Trainer(config, tabletop_small())
    curve = list(trainer.run())
    if trainer.group.main:
        (config.output / "curve.json").write_text(json.dumps(curve))
    trainer.group.close()
    return 0


def _table(names: Sequence[str], results: Mapping[str, Any]) -> Table:
    title = f"{COMMAND}: mean losses over {WINDOWS} windows of {results['steps']} steps"
    table = Table("loss", *names, "apart", "noise", title=title, title_justify="left")
    for term in TERMS:
        curves = [" ".join(f"{v:.3f}" for v in way[term]) for way in results["losses"]]
        apart, noise = (f"{100 * results[key][term]:.1f} %" for key in ("apart", "noise"))
        table.add_row(term, *curves, apart, noise)
    return table


if __name__ == "__main__":
    sys.exit(main())
