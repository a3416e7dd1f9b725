"""Many robots on one server: batches against one inference per robot, and a replica that dies.

python bench/fleet.py [--seconds 5] [--json PATH] [--check]

1, 2, 4 ... 32 robots ask as the engine `remote` does, each as soon as its last answer has come:
what comes through, unbatched (max_batch 1) and batched in turn, is the throughput. Then robots ask
at a rate, half of what comes through at most, and last a replica is killed (SIGKILL) while robots
move. Server and robots share this machine. The server runs the backend that is fastest here,
unless `--backend` names another.

`policy` is the shipped policy. `large` is no policy: layers of 4096 x 4096, 0.27 GB, more than the
caches hold, so that an inference takes as long as reading its weights, for one robot as for
sixteen. It stands for what is bound by memory, as large policies are on a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from vla_ros.cli.measurement import conclude
from vla_ros.core.errors import EngineError
from vla_ros.core.resources import resource_path
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.engine import EngineOptions, Graph
from vla_ros.engine.tensors import example_inputs
from vla_ros.policy.bundle import GRAPH
from vla_ros.serving.server import Server
from vla_ros.serving.settings import GATEWAY_APPLICATION, GatewaySettings, ModelSettings

ROBOTS = (1, 2, 4, 8, 16, 32)
MAX_BATCH = 32
PACED_RATE_HZ = 5.0
#: Robots that are driven, and how long they wait for an answer: the gate takes no chunk after 500.
DRIVEN, DRIVEN_DEADLINE_MS = 4, 400
#: Name of the gateway that puts nothing together.
UNBATCHED = "vla_ros_unbatched"
#: Width and number of the layers of the large graph.
WIDTH, LAYERS = 4096, 4
#: How long robots move before a replica is killed [s].
MOVING_S = 5.0
#: What the server may run where nobody says, and how often each is tried.
BACKENDS, TRIES = ("openvino:bf16", "openvino", "onnxruntime"), 20
ROBOT_SCRIPT, LOAD_SCRIPT = (
    Path(__file__).with_name(name) for name in ("fleet_robots.py", "fleet_load.py")
)


def main() -> int:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=resource_path("models/tabletop-small"))
    parser.add_argument("--backend", help="of the server; the fastest of those installed if none")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--port", type=int, default=8799)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must falls short")
    arguments = parser.parse_args()
    arguments.backend = arguments.backend or fastest_backend(arguments.bundle / GRAPH)
    with tempfile.TemporaryDirectory() as folder:
        results = measure(arguments, Path(folder))
    Console(soft_wrap=True).print(_killed_table(results))
    return conclude(
        "bench/fleet.py",
        results,
        json_path=arguments.json,
        check=arguments.check,
        table=_table(results),
    )


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return all results; `folder` is for what is recorded and made on the way."""
    recorded, large = folder / "recorded.npz", folder / "large.onnx"
    words = _command(ROBOT_SCRIPT, "record", bundle=arguments.bundle, inputs=recorded, robots=8)
    subprocess.run(words, check=True)
    write_large(large, folder / "large.npz")
    models = ModelSettings(bundle=str(arguments.bundle), backend=arguments.backend)
    gateway = GatewaySettings(port=arguments.port, max_batch=MAX_BATCH)
    seconds, graph = arguments.seconds, arguments.bundle / GRAPH
    with Server(models, gateway, lambda text: print(f"{text} …", file=sys.stderr)) as server:
        beside = replace(gateway, port=arguments.port + 1, max_batch=1)
        server.open_gateway(beside, UNBATCHED)
        policy = compare(server, graph, recorded, seconds)
        paced = pace(server, graph, recorded, seconds, policy)
        killed = kill(server, arguments.bundle)
        server.serve_models(replace(models, replicas=2))
        killed_of_two = kill(server, arguments.bundle)
        server.serve_models(replace(models, bundle=str(large)))
        huge = compare(server, large, folder / "large.npz", seconds)
    return {
        "backend": arguments.backend,
        "max_batch": MAX_BATCH,
        "policy": policy,
        "paced": paced,
        "killed": killed,
        "killed_of_two": killed_of_two,
        "large": huge,
        "large_graph": f"{LAYERS} layers of {WIDTH} x {WIDTH}, not a policy",
    }


def fastest_backend(graph: Path) -> str:
    """Return which installed backend takes the least time for one robot, asked of it alone."""
    medians: dict[str, float] = {}
    for backend in BACKENDS:
        try:
            engine = open_engine(
                Graph(path=graph), EngineChoice.parse(backend), EngineOptions(batch=None)
            )
        except EngineError as error:
            print(f"{backend}: {error}", file=sys.stderr)
            continue
        inputs, times = example_inputs(engine.describe().inputs), []
        for _ in range(TRIES):
            began = time.perf_counter()
            engine.infer(inputs)
            times.append(time.perf_counter() - began)
        engine.close()
        medians[backend] = float(np.median(times))
    return min(medians, key=medians.__getitem__)


def compare(server: Server, graph: Path, inputs: Path, seconds: float) -> dict[str, Any]:
    """Return throughput and latency per number of robots, unbatched and batched, and the gain.

    Two gateways lie before the same replica and take turns, so that whatever else runs on the
    machine, or heats it, slows both.
    """
    found: dict[str, Any] = {"unbatched": {}, "batched": {}}
    gateways = {"unbatched": UNBATCHED, "batched": GATEWAY_APPLICATION}
    for count in ROBOTS:
        for kind, gateway in gateways.items():
            before = server.served(gateway)
            port = server.gateway.port + (gateway == UNBATCHED)
            row = load(graph, port=port, inputs=inputs, robots=count, seconds=seconds)
            after = server.served(gateway)
            sent = {key: after[key] - before[key] for key in ("questions", "batches")}
            row["mean_batch"] = sent["questions"] / max(1, sent["batches"])
            found[kind][str(count)] = row
            print(f"{graph.name} {kind} {row}", file=sys.stderr)
    best = {name: max(row["per_s"] for row in found[name].values()) for name in found}
    return found | {"gain": best["batched"] / best["unbatched"], "best_per_s": best}


def pace(
    server: Server, graph: Path, inputs: Path, seconds: float, policy: dict[str, Any]
) -> dict[str, Any]:
    """Return latency where robots ask at a rate, half of what comes through at most."""
    most = policy["best_per_s"]["batched"]
    count = int(np.clip(0.5 * most / PACED_RATE_HZ, 1, ROBOTS[-1]))
    row = load(
        graph, port=server.gateway.port, inputs=inputs, robots=count, seconds=4 * seconds,
        rate=PACED_RATE_HZ,
    )  # fmt: skip
    return row | {
        "rate_hz": PACED_RATE_HZ,
        "load": row["per_s"] / most,
        "p99_over_p50": row["p99_ms"] / row["p50_ms"],
    }


def kill(server: Server, bundle: Path) -> dict[str, Any]:
    """Kill a replica while robots move; return what they did from then on."""
    seconds = 40.0
    address = f"remote:ws://127.0.0.1:{server.gateway.port}?deadline_ms={DRIVEN_DEADLINE_MS}"
    process = subprocess.Popen(
        _command(
            ROBOT_SCRIPT, "drive", bundle=bundle, address=address, robots=DRIVEN, seconds=seconds
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("the robots did not start; what they said is above")
        time.sleep(MOVING_S)  # a time to be measured: how much they move is in the results
        pid = server.replica_pid()
        killed_ns = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
        output, _ = process.communicate(f"{killed_ns}\n", timeout=4 * seconds)
    finally:
        process.kill()  # it has ended, unless something went wrong
        process.wait()
    return _last_json(output)


def load(graph: Path, *, port: int, **options: Any) -> dict[str, Any]:
    """Let robots ask in a process of their own, and return what they saw."""
    address = f"ws://127.0.0.1:{port}"
    words = _command(LOAD_SCRIPT, graph=graph, address=address, **options)
    return _last_json(subprocess.run(words, check=True, text=True, stdout=-1).stdout)


def _command(script: Path, *words: str, **options: Any) -> list[str]:
    words = (sys.executable, str(script), *words)
    return [*words, *(word for key, value in options.items() for word in (f"--{key}", str(value)))]


def _last_json(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return found


def write_large(path: Path, inputs: Path) -> None:
    """Write the large graph, and inputs for it."""
    rng = np.random.default_rng(0)
    nodes, weights, name = [], [], "x"
    for layer in range(LAYERS):
        matrix = rng.normal(0.0, WIDTH**-0.5, (WIDTH, WIDTH)).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [name, f"w{layer}"], [f"h{layer}"]))
        name = "y" if layer == LAYERS - 1 else f"r{layer}"
        nodes.append(helper.make_node("Tanh", [f"h{layer}"], [name]))
    shape: list[str | int | None] = ["batch", WIDTH]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    row = {"0/x": rng.normal(size=(1, WIDTH)).astype(np.float32)}
    np.savez(inputs, allow_pickle=False, **row)


def _table(results: dict[str, Any]) -> Table:
    table = Table(
        *("graph", "robots", "unbatched /s", "p50 ms", "p99 ms"),
        *("batched /s", "p50 ms", "p99 ms", "mean batch"),
        title=f"bench/fleet.py, {results['backend']}",
        title_justify="left",
    )
    for name in ("policy", "large"):
        for count in ROBOTS:
            one, many = (results[name][key][str(count)] for key in ("unbatched", "batched"))
            cells = [row[key] for row in (one, many) for key in ("per_s", "p50_ms", "p99_ms")]
            table.add_row(
                name, str(count), *(f"{cell:.1f}" for cell in cells), f"{many['mean_batch']:.1f}"
            )
        table.add_row(name, "gain", "", "", "", f"{results[name]['gain']:.2f} x")
    paced = results["paced"]
    table.add_row(
        f"paced {paced['rate_hz']:g} Hz", str(paced["robots"]), "", "", "",
        *(f"{paced[key]:.1f}" for key in ("per_s", "p50_ms", "p99_ms")),
    )  # fmt: skip
    return table


def _killed_table(results: dict[str, Any]) -> Table:
    shown = {
        "moving_without_chunk": "ticks moving without a chunk",
        "ticks_after": "of ticks after",
        "holding_ticks": "ticks holding",
        "outage_median_ms": "median outage ms",
        "outage_max_ms": "longest ms",
        "failed_inferences": "failed inferences",
    }
    table = Table("a replica is killed", "robots", *shown.values())
    for name in ("killed", "killed_of_two"):
        row = results[name]
        table.add_row(name, str(row["robots"]), *(f"{row[key]:.0f}" for key in shown))
    return table


if __name__ == "__main__":
    sys.exit(main())
