"""Whether several processes learn what one learns: the same losses from the same total batch.

python bench/data_parallel.py [--steps 1000] [--processes 2] [--json PATH] [--check]

Trains the hand on bare states that it collects itself, three times: with one process; with several
processes that share the batch; and, for the noise, with one process and another seed. On 2 cores
that nobody else uses it takes ten minutes. Shorter runs compare fewer batches: 400 steps
ended 5.7 % apart. --data trains on a folder of shards instead.
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
#: One other seed is one draw of the noise: twice that is still noise.
NOISE_FACTOR = 2.0

Curve = list[dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to train."""

    name: str
    seed: int
    processes: int


def main() -> int:
    """Train, compare, print, write, check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1000, help="of each run")
    parser.add_argument("--processes", type=int, default=2, help="that share a batch")
    parser.add_argument("--data", type=Path, help="folder of shards; collected if not given")
    parser.add_argument("--episodes", type=int, default=16, help="per step, in all")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must falls short")
    arguments = parser.parse_args()
    ways = (
        Way(name="one process", seed=0, processes=1),
        Way(name=f"{arguments.processes} processes", seed=0, processes=arguments.processes),
        Way(name="one process, other seed", seed=1, processes=1),
    )
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
        curves = {way.name: _train(way, config, folder) for way in ways}
    results = compare([curves[way.name] for way in ways])
    results |= {"steps": arguments.steps, "processes": arguments.processes}
    return conclude(
        COMMAND,
        results,
        json_path=arguments.json,
        check=arguments.check,
        table=_table([way.name for way in ways], results),
    )


def compare(curves: Sequence[Curve]) -> dict[str, Any]:
    """Return smoothed losses, and how far those of the others are from the first curve's.

    Each curve is cut into windows, over which every term is averaged; a difference is relative.
    """
    smooth = [{term: _smoothed(curve, term) for term in TERMS} for curve in curves]
    one, several, other = smooth
    apart = {term: _apart(one[term], several[term]) for term in TERMS}
    noise = {term: _apart(one[term], other[term]) for term in TERMS}
    return {
        "losses": [{term: list(map(float, way[term])) for term in TERMS} for way in smooth],
        "apart": apart,
        "noise": noise,
        "largest_apart": max(apart.values()),
        "largest_noise": max(noise.values()),
        "within_noise": all(apart[t] <= NOISE_FACTOR * noise[t] for t in TERMS),
    }


def _smoothed(curve: Curve, term: str) -> np.ndarray:
    """Return the mean of a term over the windows after the warm-up, shape (WINDOWS,)."""
    values = np.array([step[term] for step in curve])
    edges = np.linspace(WARM_UP * len(values), len(values), WINDOWS + 1).astype(int)
    return np.array([values[first:last].mean() for first, last in pairwise(edges)])


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest relative difference over the windows."""
    return float(np.abs(other / one - 1.0).max())


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
    print(f"training: {way.name}", file=sys.stderr)
    output = folder / way.name.replace(" ", "-")
    output.mkdir()
    sentences = folder / "sentences.npz"
    if sentences.exists():
        (output / sentences.name).hardlink_to(sentences)
    run = replace(config, output=output, seed=way.seed, processes=way.processes)
    status = work(run) if way.processes == 1 else run_processes(way.processes, work, run)
    if status:
        sys.exit(f"training with {way.name} failed: {status}")
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
