"""The same weights on every engine: torch eager, ONNX Runtime, OpenVINO, and int8 of both.

python bench/engine.py [--episodes 200] [--stages] [--json PATH] [--check]

Batch 1, two CPU threads. Engines take turns in one run, so that what else the machine does hits
all of them alike; what counts are ratios of medians. The int8 bundle is made by what
`vla_ros export` is made of, of observations recorded in simulation. With --episodes both bundles
play the same test scenes; with --stages the path around the model is measured too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vla_ros.cli.bundle_export import RECORDED_EPISODES
from vla_ros.cli.measurement import conclude
from vla_ros.core.resources import resource_path
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.engine import Engine
from vla_ros.engine.exporting.export import TIMED, Exported, export_bundle
from vla_ros.engine.exporting.observations import RecordedInputs
from vla_ros.engine.exporting.parity import compare
from vla_ros.engine.exporting.report import write_report
from vla_ros.engine.exporting.request import ExportRequest
from vla_ros.engine.exporting.timing import graph_of, measure
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.recording import record_inputs
from vla_ros.evaluation.suite import evaluate
from vla_ros.policy.bundle import GRAPH, GROUNDING

COMMAND = "bench/engine.py"
THREADS = 2
#: Turns of each engine, 8 inferences each.
ROUNDS = 60
#: Backend and bundle by the name of a row.
ROWS = {
    "torch": ("torch", "fp32"),
    "onnxruntime": ("onnxruntime", "fp32"),
    "openvino": ("openvino", "fp32"),
    "openvino_bf16": ("openvino:bf16", "fp32"),
    "onnxruntime_int8": ("onnxruntime", "int8"),
    "openvino_int8": ("openvino", "int8"),
}
#: Rows that compute in fp32 and in int8 outside torch.
FP32, INT8 = ("onnxruntime", "openvino"), ("onnxruntime_int8", "openvino_int8")


def main() -> int:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", type=Path, help="bundle; models/tabletop-small if not given")
    parser.add_argument("--calibration", type=Path, help="recorded observations; else records")
    parser.add_argument("--episodes", type=int, default=0, help="to measure success with")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each engine")
    parser.add_argument("--stages", action="store_true", help="the path around the model too")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must falls short")
    args = parser.parse_args()
    bundle = args.policy or resource_path("models/tabletop-small")
    recorded = (
        record_inputs(bundle, episodes=RECORDED_EPISODES)
        if args.calibration is None
        else RecordedInputs.load(args.calibration)
    )
    with tempfile.TemporaryDirectory() as folder:
        int8 = Path(folder) / "int8"
        exported = _quantize(bundle, int8, recorded)
        bundles = {"fp32": bundle, "int8": int8}
        timed = {name: _time(bundles, name, recorded, args.rounds) for name in (GRAPH, GROUNDING)}
        results = summarize(timed) | _parity(bundle, recorded) | {"threads": THREADS}
        results["int8_cosine"] = min(
            each.cosine for graph in exported.graphs for each in graph.parity
        )
        if args.episodes:
            results["success"] = _play(bundles, args.episodes)
    status = conclude(
        COMMAND, results, json_path=args.json, check=args.check, table=_table(results)
    )
    if not results["vnni"]:
        Console().print("This CPU has no VNNI: that int8 is faster is not checked.")
    if args.stages:
        from stages import StageOptions, run_stages

        path = run_stages(StageOptions(bundle=bundle))
        beside = None if args.json is None else args.json.with_suffix(".stages.json")
        status |= conclude(f"{COMMAND} --stages", path, json_path=beside, check=args.check)
    return status


def summarize(timed: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Return the medians, and their ratios for the graph that runs with every observation.

    Args:
        timed: Medians [ms] by row, by graph.
    """
    acting = timed[GRAPH]
    fp32 = min(acting[name] for name in FP32)
    int8 = min(acting[name] for name in INT8)
    vnni = has_vnni()
    return {
        "ms": {graph.removesuffix(".onnx"): dict(each) for graph, each in timed.items()},
        "over_torch": {name: acting["torch"] / acting[name] for name in acting if name != "torch"},
        "fp32_over_torch": acting["torch"] / fp32,
        "int8_over_fp32_of": {name: acting[name] / acting[f"{name}_int8"] for name in FP32},
        # the fastest against the fastest, whoever runs it
        "int8_over_fp32": fp32 / int8,
        "vnni": vnni,
        # what is checked: nothing is promised of a CPU that multiplies no bytes
        "int8_fast_enough": not vnni or fp32 / int8 >= 1.5,
        "fastest": min(acting, key=lambda name: acting[name]),
    }


def has_vnni() -> bool:
    """Return whether the CPU multiplies bytes and adds up in one instruction."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "vnni" in flags or "asimddp" in flags


def _quantize(bundle: Path, output: Path, recorded: RecordedInputs) -> Exported:
    request = ExportRequest(source=bundle, output=output, precision="int8", threads=THREADS)
    console = Console(stderr=True, highlight=False)
    return export_bundle(request, recorded, write_report({}), say=lambda text: console.print(text))


def _time(
    bundles: Mapping[str, Path], graph: str, recorded: RecordedInputs, rounds: int
) -> dict[str, float]:
    """Return medians [ms] of one inference by row."""
    engines = {
        name: _open(bundles[kind], graph, backend) for name, (backend, kind) in ROWS.items()
    }
    times = measure(engines, recorded.rows(graph, TIMED), rounds)
    for engine in engines.values():
        engine.close()
    return {name: sorted(each)[len(each) // 2] for name, each in times.items()}


def _parity(bundle: Path, recorded: RecordedInputs) -> dict[str, Any]:
    """Return how far fp32 is from torch: largest difference, and as a share of values above 1."""
    worst: dict[str, float] = {}
    share = 0.0
    for graph in (GRAPH, GROUNDING):
        reference = _open(bundle, graph, "torch")
        for name in FP32:
            engine = _open(bundle, graph, name)
            for each in compare(reference, engine, recorded.rows(graph, 64), exact=True):
                worst[f"{name}.{each.output}"] = each.max_error
                share = max(share, each.max_error / max(1.0, each.scale))
            engine.close()
        reference.close()
    named = max(worst, key=lambda name: worst[name])
    return {"parity_max": worst[named], "parity_worst": named, "parity_share": share}


def _play(bundles: Mapping[str, Path], episodes: int) -> dict[str, Any]:
    plan = EvaluationPlan(episodes=episodes)
    played = {kind: evaluate(bundle, plan) for kind, bundle in bundles.items()}
    rates = {kind: report.success for kind, report in played.items()}
    violations = sum(each.violations for report in played.values() for each in report.results)
    return {
        "episodes": episodes,
        **rates,
        "points_lost": 100.0 * (rates["fp32"] - rates["int8"]),
        "violations": violations,
    }


def _open(bundle: Path, graph: str, backend: str) -> Engine:
    return open_engine(graph_of(bundle, graph), EngineChoice(backends=(backend,), threads=THREADS))


def _table(results: Mapping[str, Any]) -> Table:
    table = Table("engine", "policy", "grounding", "policy over torch", title=COMMAND)
    for name in ROWS:
        times = [f"{results['ms'][graph][name]:.2f} ms" for graph in ("policy", "grounding")]
        ratio = results["over_torch"].get(name, 1.0)
        table.add_row(name, *times, f"{ratio:.2f} x")
    vnni = "" if results["vnni"] else " (no VNNI: not checked)"
    table.add_row("int8 over fp32", f"{results['int8_over_fp32']:.2f} x{vnni}", "", "")
    table.add_row("fp32 parity", f"{results['parity_max']:.1e}", results["parity_worst"], "")
    if success := results.get("success"):
        rates = f"{100 * success['fp32']:.1f} % fp32, {100 * success['int8']:.1f} % int8"
        table.add_row("success", rates, f"{success['episodes']} episodes", "")
    return table


if __name__ == "__main__":
    sys.exit(main())
