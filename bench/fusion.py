"""Every fusion, trained and measured alike: which one to use.

python bench/fusion.py FOLDER --json bench/results/fusion.json

Each fusion is trained with each seed on the same demonstrations, for the same number of steps and
with the same number of parameters. Eyes and the readers of sentences come from the shipped policy
and stay as they are; what is compared, the grounding and the acting behind them, begins anew for
all. So they were brought up with the shipped policy's fusion; acting is trained on imagined
sightings, and no run sees an image while it learns to act. Each run then plays the same unseen
scenes: the core suite, every reasoning suite, and the core suite with bad senses. 100 episodes of
the core suite, few of the others: their intervals are wide.

Demonstrations are collected into FOLDER/data unless --data and --stills name some. Everything
that is finished stays in FOLDER, and the same command goes on from there. With nothing else
running, one fusion and seed takes about 5 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from safetensors.numpy import load_file
from several_runs import CACHES, keep_settings, run_vla_ros, share_caches

from vla_ros.cli.measurement import conclude
from vla_ros.contract import load_contract
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.policy.bundle import WEIGHTS
from vla_ros.policy.fusion import FUSIONS
from vla_ros.sim.reasoning import REASONING_SUITES
from vla_ros.testing.observations import make_observation

COMMAND = "bench/fusion.py"
#: What is taken from the shipped policy, the same for all.
SHARED = ("vision", "regions", "language", "grounder.read", "grounder.appearance")
#: What begins anew, though the shipped policy has it.
ANEW = (
    *("fusion", "head", "place_embed", "state_embed", "imu_embed", "slot_type"),
    *("grounder.fusion", "grounder.what", "grounder.where", "grounder.point", "grounder.nothing"),
    *("grounder.match", "grounder.words", "grounder.look", "grounder.body", "grounder.recalled"),
    *("grounder.has_target", "grounder.shown", "grounder.unseen", "grounder.calibration"),
    "grounder.temperature",
)
#: Bad senses that every run is measured under.
DISTURBED = ("no_depth", "no_wrist", "no_imu", "noisy_images", "moved_front")
LATENCY_RUNS = 200
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is the same for every run."""

    folder: Path
    start: Path
    data: tuple[Path, ...]
    stills: tuple[Path, ...]
    steps: int
    episodes: int
    reasoning: int
    robustness: int


def main() -> None:
    """Train and measure every fusion with every seed; print the table."""
    args = _arguments()
    settings = Settings(
        folder=args.folder,
        start=args.start,
        data=tuple(args.data or _collected(args.folder, "states", "--image-share", "0")),
        stills=tuple(args.stills or _collected(args.folder, "stills", "--stills", "4")),
        steps=args.steps,
        episodes=args.episodes,
        reasoning=args.reasoning_episodes,
        robustness=args.robustness_episodes,
    )
    keep_settings(settings.folder, asdict(settings))
    _prepare(settings)
    runs = [(fusion, seed) for seed in range(args.seeds) for fusion in args.fusions]
    with ThreadPoolExecutor(args.together) as pool:
        waiting = [pool.submit(_train_and_play, settings, *run, args.together) for run in runs]
        try:
            for each in waiting:
                each.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    rows = [_measure(settings, *run) for run in runs]  # times, with nothing else running
    results = summarize(rows, settings)
    sys.exit(conclude(COMMAND, results, json_path=args.json, check=args.check, table=_table(rows)))


def summarize(rows: Sequence[Row], settings: Settings) -> dict[str, Any]:
    """Return the rows, and what the musts look at."""
    parameters = [row["fusion_parameters"] for row in rows]
    fusions = {row["fusion"] for row in rows}
    return {
        "rows": list(rows),
        "fusions": len(fusions),
        "seeds": min(sum(row["fusion"] == name for row in rows) for name in fusions),
        "episodes": min(row["episodes"] for row in rows),
        "parameters_apart": max(parameters) / min(parameters) - 1.0,
        "steps": settings.steps,
        "violations": sum(row["violations"] for row in rows),
    }


def _prepare(settings: Settings) -> None:
    """Embed the sentences and look at the images once, for all runs."""
    if not (settings.folder / CACHES[-1]).exists():
        first = next(iter(FUSIONS))
        _train(replace(settings, steps=1, folder=settings.folder / "prepared"), first, 0, 1)
        share_caches(settings.folder / "prepared", settings.folder)


def _train_and_play(settings: Settings, fusion: str, seed: int, together: int) -> None:
    _train(settings, fusion, seed, together)
    played = _play(settings, fusion, seed, workers=_cores(together))
    _note(f"{fusion}, seed {seed}: {100 * played['core']['success']:.0f} %")


def _cores(together: int) -> int:
    """Return how many cores each of some runs gets."""
    return max(1, len(os.sched_getaffinity(0)) // together)


def _train(settings: Settings, fusion: str, seed: int, together: int) -> None:
    """Train one run and make its bundle, unless that is done."""
    output = settings.folder / f"{fusion}-{seed}"
    bundle = output / "bundle"
    if (bundle / "bundle.json").exists():
        return
    output.mkdir(parents=True, exist_ok=True)
    share_caches(settings.folder, output)
    folders = [f"--data={folder}" for folder in settings.data]
    stills = [f"--eyes-only={folder}" for folder in settings.stills]
    sets = [
        f"--set=training.freeze={json.dumps(SHARED)}",
        f"--set=training.anew={json.dumps(ANEW)}",
        "--set=training.questions=3",
        "--set=training.masked=0",  # it would take a third of the time
    ]
    sizes = ["--images=96", "--episodes=24", "--learning-rate=1e-3", f"--steps={settings.steps}"]
    what = [f"--start={settings.start}", f"--output={output}", f"--fusion={fusion}"]
    how = [f"--seed={seed}", f"--threads={_cores(together)}", *sizes, *sets]
    run_vla_ros(["train", *folders, *stills, *what, *how], output / "train.log")
    share_caches(output, settings.folder)
    run_vla_ros(["export", str(output / "checkpoint.pt"), str(bundle)], output / "export.log")


def _play(settings: Settings, fusion: str, seed: int, *, workers: int) -> dict[str, Row]:
    """Play the suites with one run's bundle; what was played stays played."""
    output = settings.folder / f"{fusion}-{seed}"
    disturb = [f"--disturb={name}" for name in DISTURBED]
    suites: dict[str, tuple[int, list[str]]] = {
        "core": (settings.episodes, []),
        "reasoning": (settings.reasoning, ["--suite=reasoning", "--no-text-only"]),
        "robustness": (settings.robustness, ["--suite=robustness", *disturb]),
    }
    return {
        name: _evaluated(output, name, episodes, f"--workers={workers}", *options)
        for name, (episodes, options) in suites.items()
    }


def _measure(settings: Settings, fusion: str, seed: int) -> Row:
    """Return one run's row."""
    bundle = settings.folder / f"{fusion}-{seed}" / "bundle"
    core, reasoning, robust = _play(settings, fusion, seed, workers=1).values()
    suites = {name: reasoning["suites"][name]["success"] for name in REASONING_SUITES}
    return {
        "fusion": fusion,
        "seed": seed,
        "success": core["success"],
        "success_low": core["success_low"],
        "success_high": core["success_high"],
        "episodes": core["episodes"],
        "suites": suites,
        "suite_episodes": settings.reasoning,
        "reasoning": reasoning["mean"],
        "latency_ms": latency_ms(bundle),
        **count_parameters(bundle),
        "robustness": {
            name: {
                key: value[key]
                for key in ("success", "points_lost", "points_lost_low", "points_lost_high")
            }
            for name, value in robust["robustness"].items()
        },
        "robustness_episodes": settings.robustness,
        "violations": core["violations"] + reasoning["violations"] + robust["violations"],
        "bundle_sha256": core["bundle_sha256"],
    }


def _evaluated(output: Path, name: str, episodes: int, *options: str) -> Row:
    path, bundle = output / f"{name}.json", output / "bundle"
    if not path.exists():
        run_vla_ros(
            ["eval", f"--policy={bundle}", f"--episodes={episodes}", f"--json={path}", *options],
            output / f"{name}.log",
        )
    found: Row = json.loads(path.read_text())
    return found


def latency_ms(bundle: Path) -> float:
    """Return the median time of an inference on one core, after the instruction is understood."""
    policy = BundlePolicy(bundle)
    policy.start("put the red cube into the bowl")
    observation = make_observation(load_contract("tabletop_sim"))
    times = []
    for _ in range(LATENCY_RUNS):
        began = time.perf_counter()
        policy.infer(observation)
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times[LATENCY_RUNS // 4 :]))


def count_parameters(bundle: Path) -> dict[str, int]:
    """Return how many weights a bundle has, and how many of them are its two fusions'."""
    sizes = {name: value.size for name, value in load_file(bundle / WEIGHTS).items()}
    mixing = [sizes[name] for name in sizes if name.startswith(("fusion.", "grounder.fusion."))]
    return {"parameters": sum(sizes.values()), "fusion_parameters": sum(mixing)}


def _collected(folder: Path, name: str, *options: str) -> list[Path]:
    """Collect demonstrations, or add what is missing."""
    output = folder / "data" / name
    seed = {"states": 20_000_000, "stills": 21_000_000}[name]
    count = {"states": 500, "stills": 3000}[name]
    run_vla_ros(
        ["demonstrate", f"--output={output}", f"--episodes={count}", f"--seed={seed}", *options],
        folder / f"demonstrate-{name}.log",
    )
    return [output]


def _note(text: str) -> None:
    Console(stderr=True, highlight=False).print(text)


def _table(rows: Sequence[Row]) -> Table:
    columns = ("fusion", "seed", "core", "reasoning", *REASONING_SUITES, *DISTURBED)
    table = Table(*columns, "ms", "parameters", title=COMMAND, title_justify="left")
    for row in rows:
        table.add_row(
            row["fusion"],
            str(row["seed"]),
            f"{100 * row['success']:.0f}",
            f"{100 * row['reasoning']:.0f}",
            *(f"{100 * row['suites'][name]:.0f}" for name in REASONING_SUITES),
            *(f"{100 * row['robustness'][name]['success']:.0f}" for name in DISTURBED),
            f"{row['latency_ms']:.1f}",
            f"{row['parameters'] / 1e6:.2f} M",
        )
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", type=Path, help="where runs and demonstrations are kept")
    add("--start", type=Path, default=Path("models/tabletop-small"), help="whose eyes all share")
    add("--data", type=Path, action="append", help="folder of demonstrations; repeatable")
    add("--stills", type=Path, action="append", help="folder of stills; repeatable")
    add("--fusions", nargs="+", choices=list(FUSIONS), default=list(FUSIONS))
    add("--seeds", type=int, default=2, help="runs of each fusion")
    add("--steps", type=int, default=1200, help="of training")
    add("--episodes", type=int, default=100, help="of the core suite")
    add("--reasoning-episodes", type=int, default=16, help="of each reasoning suite")
    add("--robustness-episodes", type=int, default=25, help="under each disturbance")
    add("--together", type=int, default=2, help="runs that are trained at once")
    add("--json", type=Path, help="write the results here")
    add("--check", action="store_true", help="exit with 1 if a must falls short")
    return parser.parse_args()


if __name__ == "__main__":
    main()
