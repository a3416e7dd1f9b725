"""What each way to make a policy cheaper is worth: adapters, a teacher, pruning, fewer inferences.

python bench/efficiency.py FOLDER --data DATA [--eyes-only STILLS] [--json PATH] [--check]

Every variant comes from one bundle. Its parameters are counted, trained ones apart; an inference
is timed on one core while it acts; how far its chunks are from an expert's is measured on states
that training never saw; and it plays the core suite, on the same scenes as that bundle.

Everything that is finished stays in FOLDER, and the same command goes on from there. With nothing
else running, the defaults take about three hours on 2 cores, most of it the two small students.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from several_runs import keep_settings, run_vla_ros, share_caches

from vla_ros.cli.measurement import conclude
from vla_ros.core.protocols import Policy
from vla_ros.core.types import ActionChunk, Observation
from vla_ros.evaluation.deprivation import open_policy
from vla_ros.evaluation.episode import run_episode
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.report import Report
from vla_ros.evaluation.robustness import compare
from vla_ros.evaluation.suite import evaluate
from vla_ros.learning.adapters import adapt, trained_parameters
from vla_ros.learning.experts import Expert
from vla_ros.learning.training_config import LORA_TARGETS
from vla_ros.policy.bundle import GRAPH, GROUNDING, Bundle
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.model import Policy as Network
from vla_ros.sim.environment import Environment
from vla_ros.sim.scenes import TEST_SEED

COMMAND = "bench/efficiency.py"
#: Scenes of the open loop, and of timing, which neither training nor the suite has.
OPEN_SEED, TIMED_SEED = TEST_SEED + 700_000, TEST_SEED + 800_000
TIMED_EPISODES = 5
#: An expert shows what to do for so long at most [s].
SHOWN_S = 6.0
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is the same for every variant."""

    folder: Path
    start: Path
    data: tuple[Path, ...]
    eyes_only: tuple[Path, ...]
    steps: int
    student_steps: int
    student: tuple[str, ...]
    rank: int
    share: float
    episodes: int
    held_out: int
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One row of the table.

    Attributes:
        what: It is, in words.
        make: Makes its bundle in a folder, unless that is done, and returns it.
        trained: How many of its parameters were trained, of the network that it is.
        adaptive: Whether it infers only when something has happened.
    """

    what: str
    make: Callable[[Settings, Path], Path]
    trained: Callable[[Settings, Network], int]
    adaptive: bool = False


def main() -> int:
    """Make, measure and print every variant; write, check."""
    settings, args = _arguments()
    keep_settings(settings.folder, asdict(settings))
    rows: dict[str, Row] = {}
    for name in ["whole", *(name for name in args.only if name != "whole")]:
        rows[name] = _row(settings, name)
        _note(f"{name}: {100 * rows[name]['success']:.0f} %, {rows[name]['ms']:.2f} ms")
    results = summarize(rows, settings)
    return conclude(COMMAND, results, json_path=args.json, check=args.check, table=_table(rows))


def summarize(rows: Mapping[str, Row], settings: Settings) -> dict[str, Any]:
    """Return the rows by name, and what the musts look at beside them."""
    results: dict[str, Any] = {
        **rows,
        "episodes": settings.episodes,
        "steps": settings.steps,
        "student_steps": settings.student_steps,
        "violations": sum(row["violations"] for row in rows.values()),
    }
    if {"small", "distilled"} <= set(rows):
        gained = rows["distilled"]["success"] - rows["small"]["success"]
        results["points_gained_by_teacher"] = 100.0 * gained
    return results


def _row(settings: Settings, name: str) -> Row:
    """Return what is measured of a variant; what was measured before is read."""
    variant, folder = VARIANTS[name], settings.folder / name
    path = folder / "row.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        bundle = variant.make(settings, folder)
        row = _measure(settings, variant, bundle)
        whole = _play(settings, settings.folder / "whole", settings.start, adaptive=False)
        played = _play(settings, folder, bundle, adaptive=variant.adaptive)
        row |= _shares(row, settings) | _success(whole, played)
        path.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")
    found: Row = json.loads(path.read_text(encoding="utf-8"))
    return found


def _measure(settings: Settings, variant: Variant, bundle: Path) -> Row:
    network = Network(PolicyConfig.from_dict(Bundle.open(bundle).policy))
    policy = open_policy(bundle, adaptive=variant.adaptive)
    graphs = [(bundle / name).stat().st_size for name in (GRAPH, GROUNDING)]
    # an expert drives in the open loop, so that an adaptive policy could never go on by itself
    error = None if variant.adaptive else open_loop_error_mrad(policy, settings.held_out)
    return {
        "what": variant.what,
        "parameters": sum(value.numel() for value in network.parameters()),
        "trained": variant.trained(settings, network),
        "graphs_mb": sum(graphs) / 1e6,
        "ms": milliseconds(policy),
        "error_mrad": error,
        "bundle_sha256": policy.bundle_sha256,
    }


def _shares(row: Row, settings: Settings) -> Row:
    """Return parameters as shares of those of the bundle that all variants come from."""
    whole = Network(PolicyConfig.from_dict(Bundle.open(settings.start).policy))
    count = sum(value.numel() for value in whole.parameters())
    return {
        "parameters_share": row["parameters"] / count,
        "trained_share": row["trained"] / count,
    }


def _success(whole: Report, played: Report) -> Row:
    found = played.to_dict()
    kept = ("success", "success_low", "success_high", "violations", "inferences_saved")
    lost = {key: value for key, value in compare(whole, played).items() if "lost" in key}
    return {key: found[key] for key in kept if key in found} | lost


def _play(settings: Settings, folder: Path, bundle: Path, *, adaptive: bool) -> Report:
    """Play the core suite; episodes that were played stay played."""
    return evaluate(
        bundle,
        EvaluationPlan(episodes=settings.episodes, adaptive=adaptive),
        workers=settings.workers,
        log=folder / "core.episodes",
        keep_log=True,
    )


def open_loop_error_mrad(policy: Policy, episodes: int) -> float:
    """Return how far chunks are from an expert's, as a mean over rows and joints [mrad].

    The expert drives, so that all policies are asked about the same states.
    """
    environment, expert, errors = Environment(), Expert(), []
    plan = EvaluationPlan(episodes=episodes, first_seed=OPEN_SEED)
    for index in range(episodes):
        scene = plan.scene(index)
        step = environment.reset(scene)
        policy.start(scene.text)
        while environment.table.time_s < SHOWN_S and not step.score.success:
            right, _ = expert.chunk(environment.table)
            chunk = policy.infer(step.observation)
            errors.append(float(np.abs(chunk.positions - right).mean()))
            step = environment.step(_as_chunk(chunk, right))
    environment.close()
    return 1e3 * float(np.mean(errors))


def _as_chunk(like: ActionChunk, positions: np.ndarray) -> ActionChunk:
    return ActionChunk(
        stamp_ns=like.stamp_ns,
        step_s=like.step_s,
        joint_names=like.joint_names,
        positions=positions,
    )


class _Timed:
    """A policy that notes how long each observation takes it [ms] on its core.

    It has one thread. What else runs meanwhile does not count.
    """

    def __init__(self, inner: Policy) -> None:
        self._inner = inner
        self.name, self.bundle_sha256 = inner.name, inner.bundle_sha256
        self.times_ms: list[float] = []

    def start(self, instruction: str) -> None:
        self._inner.start(instruction)

    def infer(self, observation: Observation) -> ActionChunk:
        began = time.thread_time()
        chunk = self._inner.infer(observation)
        self.times_ms.append(1e3 * (time.thread_time() - began))
        return chunk


def milliseconds(policy: Policy) -> float:
    """Return how long an observation takes on one core while the policy acts, on average [ms]."""
    environment, timed = Environment(), _Timed(policy)
    plan = EvaluationPlan(episodes=TIMED_EPISODES, first_seed=TIMED_SEED)
    for index in range(TIMED_EPISODES):
        run_episode(environment, timed, plan.scene(index), index=index)
    environment.close()
    return float(np.mean(timed.times_ms))


def _as_it_is(settings: Settings, folder: Path) -> Path:
    del folder
    return settings.start


def _tuned(settings: Settings, folder: Path) -> Path:
    return _train(settings, folder, "--learning-rate=4e-4")


def _adapted(settings: Settings, folder: Path) -> Path:
    return _train(settings, folder, "--learning-rate=1e-3", f"--lora-rank={settings.rank}")


def _pruned(settings: Settings, folder: Path) -> Path:
    return _export(_prune(settings, folder), folder)


def _pruned_and_tuned(settings: Settings, folder: Path) -> Path:
    start = _prune(settings, folder)
    return _train(settings, folder, "--learning-rate=4e-4", start=start)


def _alone(settings: Settings, folder: Path) -> Path:
    return _train_student(settings, folder)


def _distilled(settings: Settings, folder: Path) -> Path:
    return _train_student(settings, folder, f"--teacher={settings.start}")


def _train_student(settings: Settings, folder: Path, *options: str) -> Path:
    sizes = [f"--set={size}" for size in settings.student]
    options = (*options, *sizes, "--learning-rate=1e-3")
    return _train(settings, folder, *options, start=None, steps=settings.student_steps)


def _prune(settings: Settings, folder: Path) -> Path:
    output = folder / "pruned.pt"
    if not output.exists():
        data = [f"--data={each}" for each in settings.data]
        share = f"--share={settings.share}"
        run_vla_ros(
            ["prune", str(settings.start), str(output), share, *data], folder / "prune.log"
        )
    return output


def _train(
    settings: Settings,
    folder: Path,
    *options: str,
    start: Path | str | None = "",
    steps: int | None = None,
) -> Path:
    """Train a run from the bundle, from something else, or from nothing (None); export it."""
    output = folder / "run"
    if not (folder / "bundle" / "bundle.json").exists():
        begin = settings.start if start == "" else start
        given = [f"--data={each}" for each in settings.data]
        given += [f"--eyes-only={each}" for each in settings.eyes_only]
        given += [] if begin is None else [f"--start={begin}"]
        given += [f"--output={output}", f"--steps={steps or settings.steps}"]
        output.mkdir(parents=True, exist_ok=True)
        share_caches(settings.folder, output)
        run_vla_ros(["train", *given, *options], folder / "train.log")
        share_caches(output, settings.folder)
    return _export(output / "checkpoint.pt", folder)


def _export(checkpoint: Path, folder: Path) -> Path:
    bundle = folder / "bundle"
    if not (bundle / "bundle.json").exists():
        run_vla_ros(["export", str(checkpoint), str(bundle)], folder / "export.log")
    return bundle


def _none(settings: Settings, network: Network) -> int:
    del settings, network
    return 0


def _all(settings: Settings, network: Network) -> int:
    del settings
    return trained_parameters(network)


def _of_adapters(settings: Settings, network: Network) -> int:
    adapt(network, settings.rank, LORA_TARGETS)
    return trained_parameters(network)


VARIANTS = {
    "whole": Variant(what="the bundle that all others come from", make=_as_it_is, trained=_none),
    "tuned": Variant(what="all of it trained on", make=_tuned, trained=_all),
    "lora": Variant(what="adapters trained on it", make=_adapted, trained=_of_adapters),
    "pruned": Variant(what="hidden units removed", make=_pruned, trained=_none),
    "pruned_tuned": Variant(
        what="hidden units removed, then trained on", make=_pruned_and_tuned, trained=_all
    ),
    "small": Variant(what="a smaller one from demonstrations", make=_alone, trained=_all),
    "distilled": Variant(what="the same, with a teacher", make=_distilled, trained=_all),
    "adaptive": Variant(
        what="infers when something has happened", make=_as_it_is, trained=_none, adaptive=True
    ),
}


def _table(rows: Mapping[str, Row]) -> Table:
    columns = ("variant", "trained", "kept", "graphs", "ms", "mrad", "success", "lost")
    table = Table(*columns, "saved", title=COMMAND, title_justify="left")
    for name, row in rows.items():
        error, saved = row["error_mrad"], row.get("inferences_saved")
        table.add_row(
            name,
            f"{row['trained'] / 1e6:.2f} M",
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['graphs_mb']:.1f} MB",
            f"{row['ms']:.2f}",
            "-" if error is None else f"{error:.1f}",
            f"{100 * row['success']:.0f} %",
            f"{row['points_lost']:.0f} "
            f"({row['points_lost_low']:.0f}..{row['points_lost_high']:.0f})",
            "-" if saved is None else f"{100 * saved:.0f} %",
        )
    return table


def _note(text: str) -> None:
    Console(stderr=True, highlight=False).print(text)


def _arguments() -> tuple[Settings, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", type=Path, help="where runs and rows are kept")
    add("--start", type=Path, default=Path("models/tabletop-small"), help="bundle to begin with")
    add("--data", type=Path, action="append", required=True, help="demonstrations; repeatable")
    add("--eyes-only", type=Path, action="append", default=[], help="stills; repeatable")
    add("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), help="which rows")
    add("--steps", type=int, default=1000, help="of training on")
    add("--student-steps", type=int, default=6000, help="of training a student from nothing")
    add(
        "--student",
        nargs="+",
        metavar="policy.FIELD=VALUE",
        default=[
            *("policy.width=64", "policy.layers=2"),
            *("policy.feedforward=192", "policy.vision_width=32"),
        ],
        help="sizes of the students",
    )
    add("--rank", type=int, default=8, help="of the adapters")
    add("--share", type=float, default=0.3, help="of the hidden units to prune")
    add("--episodes", type=int, default=100, help="of the core suite")
    add("--held-out", type=int, default=10, help="episodes of the open loop")
    add("--workers", type=int, default=2, help="processes that play")
    add("--json", type=Path, help="write the results here")
    add("--check", action="store_true", help="exit with 1 if a must falls short")
    args = parser.parse_args()
    names = tuple(Settings.__dataclass_fields__)
    values = {name: getattr(args, name) for name in names}
    values |= {name: tuple(values[name]) for name in ("data", "eyes_only", "student")}
    return Settings(**values), args


if __name__ == "__main__":
    sys.exit(main())
