"""An ACT checkpoint through LeRobot, and the same checkpoint exported, in one run.

python bench/against_lerobot.py [--rounds 20] [--json PATH] [--check]

Runs in the environment of requirements/lerobot.txt. One checkpoint of the size that people train
(ResNet-18, width 512, two cameras of 480x640, chunks of 100) with random weights: latency does not
depend on them. LeRobot runs as its users run it, from numpy images to an action:
`predict_action`, which is preprocessor, `policy.select_action`, postprocessor. With
n_action_steps=1 each call infers, which a call that only takes the next action of a chunk from the
queue would not. Ours gives the whole chunk. Both have two CPU threads and take turns. The error is
that of the first action against LeRobot's, as a share of the largest action; int8 is calibrated on
noise, as what is compared is.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.utils.control_utils import predict_action
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from vla_ros.cli.measurement import conclude
from vla_ros.contract import FeatureKind, RobotContract, load_contract
from vla_ros.core.errors import EngineError
from vla_ros.core.types import Observation
from vla_ros.engine.choice import EngineChoice
from vla_ros.engine.exporting.quantization import quantize
from vla_ros.engine.lerobot_export import export_lerobot
from vla_ros.engine.signature_policy import SignaturePolicy
from vla_ros.testing.lerobot_checkpoints import write_checkpoint
from vla_ros.testing.observations import make_observation

COMMAND = "bench/against_lerobot.py"
THREADS = 2
TASK = "pick up the red cube"
ACT = {"chunk_size": 100, "n_action_steps": 1, "pretrained_backbone_weights": None}
#: Observations that int8 is calibrated on, and that errors are taken over.
CALIBRATED, COMPARED = 16, 8
#: Precision and backend by the name of a row.
ROWS = {
    "onnxruntime": ("fp32", "onnxruntime"),
    "openvino": ("fp32", "openvino"),
    "openvino_bf16": ("bf16", "openvino:bf16"),
    "onnxruntime_int8": ("int8 backbone", "onnxruntime"),
    "openvino_int8": ("int8 backbone", "openvino"),
    "openvino_int8_bf16": ("int8 backbone, bf16", "openvino:bf16"),
}
LEROBOT = "lerobot"
#: The best is taken of those whose actions are within this share of LeRobot's.
FAITHFUL = 0.01

#: Gives the first action, or the first of a chunk, for an observation.
Act = Callable[[Observation], NDArray[np.float64]]


def main() -> int:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="turns of each")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must falls short")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    contract = _contract()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_checkpoint(Path(folder) / "act", "act", contract, ACT)
        acts = {LEROBOT: _lerobot(checkpoint), **_ours(checkpoint, Path(folder), contract)}
        results = _summarize(*_measure(acts, contract, arguments.rounds))
    results["rounds"] = arguments.rounds
    return conclude(
        COMMAND, results, json_path=arguments.json, check=arguments.check, table=_table(results)
    )


def _contract() -> RobotContract:
    """Return the arm's contract with its two cameras of 480x640 and its joints, and no more."""
    contract = load_contract("so101")
    kept = (FeatureKind.IMAGE, FeatureKind.STATE)
    specs = tuple(spec for spec in contract.observations if spec.kind in kept)
    sizes = [(s.height, s.width) for s in specs if s.kind is FeatureKind.IMAGE]
    assert sizes == [(480, 640)] * 2, f"the contract's cameras are {sizes}"
    return replace(contract, observations=specs)


def _lerobot(checkpoint: Path) -> Act:
    """Return LeRobot's own way from an observation to an action."""
    policy = get_policy_class("act").from_pretrained(checkpoint)
    before, behind = make_pre_post_processors(policy.config, pretrained_path=str(checkpoint))

    def act(observation: Observation) -> NDArray[np.float64]:
        frame: dict[str, Any] = {"observation.state": observation.state}
        for camera, image in observation.images.items():
            frame[f"observation.images.{camera}"] = image
        action = predict_action(
            frame, policy, torch.device("cpu"), before, behind, use_amp=False, task=TASK
        )
        return np.asarray(action[0].double().numpy())

    return act


def _ours(checkpoint: Path, folder: Path, contract: RobotContract) -> dict[str, Act]:
    """Return ours on each engine that is installed."""
    console = Console(stderr=True)
    exported = {"fp32": folder / "fp32", "int8": folder / "int8"}
    export_lerobot(str(checkpoint), exported["fp32"], progress=console.print)
    console.print("quantizing the backbone")
    _quantize(exported["fp32"], exported["int8"], contract)
    acts: dict[str, Act] = {}
    for name, (precision, backend) in ROWS.items():
        source = exported["int8" if precision.startswith("int8") else "fp32"]
        choice = EngineChoice(backends=(backend,), threads=THREADS)
        try:
            policy = SignaturePolicy(source, contract, choice)
        except EngineError as error:
            console.print(f"{name} is left out: {error}", markup=False)
            continue
        policy.start(TASK)
        acts[name] = lambda observation, policy=policy: policy.infer(observation).positions[0]  # type: ignore[misc]
    return acts


def _quantize(source: Path, output: Path, contract: RobotContract) -> None:
    """Write the same graph with all convolutions of images in int8, whatever it costs."""
    output.mkdir()
    for file in source.iterdir():
        (output / file.name).write_bytes(file.read_bytes())
    rows: list[dict[str, NDArray[Any]]] = []
    for seed in range(CALIBRATED):
        observation = make_observation(contract, seed=1000 + seed)
        images = {f"image_{name}": image[None] for name, image in observation.images.items()}
        rows.append({**images, "state": observation.state[None]})
    quantize(source / "policy.onnx", output / "policy.onnx", rows, lambda path: 0.0)


def _measure(
    acts: Mapping[str, Act], contract: RobotContract, rounds: int
) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
    """Return times of each in [s], taken in turns, and errors of each against LeRobot."""
    observations = [make_observation(contract, seed=seed) for seed in range(COMPARED)]
    actions = {name: np.stack([act(each) for each in observations]) for name, act in acts.items()}
    largest = np.abs(actions[LEROBOT]).max()
    errors = {
        name: float(np.abs(found - actions[LEROBOT]).max() / largest)
        for name, found in actions.items()
    }
    times: dict[str, list[float]] = {name: [] for name in acts}
    for turn in range(rounds):
        for name, act in acts.items():
            observation = observations[turn % COMPARED]
            began = time.perf_counter()
            act(observation)
            times[name].append(time.perf_counter() - began)
    return {name: np.array(values) for name, values in times.items()}, errors


def _summarize(
    times: Mapping[str, NDArray[np.float64]], errors: Mapping[str, float]
) -> dict[str, Any]:
    theirs = float(np.median(times[LEROBOT]))
    rows = {
        name: {
            "precision": ROWS[name][0] if name in ROWS else "fp32",
            "p50_ms": 1e3 * float(np.median(values)),
            "p99_ms": 1e3 * float(np.percentile(values, 99)),
            "times_faster": theirs / float(np.median(values)),
            "error": errors[name],
        }
        for name, values in times.items()
    }
    ours = {name: row for name, row in rows.items() if name != LEROBOT}
    faithful = [name for name in ours if errors[name] <= FAITHFUL]
    best = max(faithful, key=lambda name: float(str(ours[name]["times_faster"])))
    exact = [row for row in ours.values() if row["precision"] == "fp32"]
    return {
        "rows": rows,
        "best": {"engine": best, **ours[best]},
        "best_fp32_times_faster": max(float(str(row["times_faster"])) for row in exact),
        "fp32_error": max(float(str(row["error"])) for row in exact),
        "versions": {"torch": torch.__version__},
    }


def _table(results: Mapping[str, Any]) -> Table:
    table = Table("engine", "precision", "p50 ms", "p99 ms", "x", "error", title=COMMAND)
    for name, row in results["rows"].items():
        table.add_row(
            name,
            row["precision"],
            f"{row['p50_ms']:.0f}",
            f"{row['p99_ms']:.0f}",
            f"{row['times_faster']:.2f}",
            f"{row['error']:.1e}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
