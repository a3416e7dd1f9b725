"""One inference on a GPU, by every backend that is installed, of three models.

python bench/gpu.py [--models policy,smolvla,pi0] [--only torch,tensorrt] [--folder KEPT]
                    [--engines tensorrt:bf16] [--rounds 200] [--json PATH] [--check]
python bench/gpu.py --device cpu --small

From inputs on the host to outputs on the host, batch 1. The models are our policy, and those with
the shapes of SmolVLA and π0 and random weights (`bench/vla_models.py`), in fp16 on a GPU. torch
eager is what the others are compared with. With `--device cpu --small` it only shows that it
runs: small shapes, on the CPU. Exit status 2: there is no GPU.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_subjects import MODELS, Subject, make_subject
from rich.console import Console
from rich.table import Table
from vla_models import count_parameters

from vla_ros.cli.measurement import conclude
from vla_ros.core.errors import EngineError, InferenceFailed
from vla_ros.engine.backends.torch_cuda import CudaRunner
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.engine import EngineOptions

#: Runs one inference.
Infer = Callable[[], object]

#: torch in three ways, then engines by name; `{}` is the model's precision.
TORCH = ("torch eager", "torch compile", "torch cuda graphs")
ENGINES = {
    "cuda": (
        "onnxruntime:cuda",
        "onnxruntime:cuda-graphs",
        "onnxruntime:tensorrt",
        "tensorrt:{}",
        "tensorrt_rtx:{}",
    ),
    "cpu": ("onnxruntime",),
}
#: Inferences before those that count; compiling and capturing happen in them.
WARM_UPS = 5


def main() -> int:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="small shapes: a test that it runs")
    parser.add_argument("--models", default=",".join(MODELS), help="of " + ", ".join(MODELS))
    parser.add_argument("--only", default="", help="backends whose name begins so")
    parser.add_argument("--engines", help="other engines than the usual ones")
    parser.add_argument("--rounds", type=int, default=200, help="inferences that are timed")
    parser.add_argument("--folder", type=Path, help="keep graphs and engines here")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must falls short")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        why = "finds none" if torch.version.cuda else "is a build without CUDA"
        print(
            f"bench/gpu.py: no NVIDIA GPU can be used here (torch {torch.__version__} {why}), so "
            "nothing is measured. docs/reference/gpu.md says what to install. "
            "`--device cpu --small` shows that the bench runs.",
            file=sys.stderr,
        )
        return 2
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results = measure(arguments, folder)
    return conclude(
        "bench/gpu.py",
        results,
        json_path=arguments.json,
        check=arguments.check,
        table=draw_table(results),
    )


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return what every backend takes for every model [ms], and why those that cannot do not."""
    device: str = arguments.device
    only = tuple(filter(None, arguments.only.split(",")))
    results: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "torch": torch.__version__,
        "models": {},
    }
    for name in arguments.models.split(","):
        subject = make_subject(name, folder, small=arguments.small, half=device == "cuda")
        rows: dict[str, Any] = {}
        engines = tuple(arguments.engines.split(",")) if arguments.engines else ENGINES[device]
        for backend, prepare in candidates(subject, device, engines, folder):
            if only and not backend.startswith(only):
                continue
            Console(stderr=True).print(f"{subject.name}: {backend}", highlight=False)
            rows[backend] = time_candidate(prepare, arguments.rounds)
        eager = rows.get("torch eager", {}).get("p50_ms")
        for row in rows.values():
            if eager and "p50_ms" in row:
                row["times_eager"] = eager / row["p50_ms"]
        results["models"][subject.name] = {
            "parameters": count_parameters(subject.make()),
            "precision": subject.precision,
            "backends": rows,
        }
    return results


def candidates(
    subject: Subject, device: str, engines: Sequence[str], folder: Path
) -> Iterator[tuple[str, Callable[[], tuple[Infer, Callable[[], None]]]]]:
    """Give every backend by name, with what makes it ready, and returns how to run and end it."""
    for name in TORCH:
        if device == "cuda" or name != "torch cuda graphs":
            yield name, lambda name=name: _with_torch(subject, name, device)  # type: ignore[misc]
    precisions = (subject.precision,) if subject.precision == "fp16" else ("fp32", "fp16")
    for pattern in engines:
        for precision in precisions if "{}" in pattern else ("",):
            name = pattern.format(precision)
            yield name, lambda name=name: _with_engine(subject, name, folder)  # type: ignore[misc]


def time_candidate(
    prepare: Callable[[], tuple[Infer, Callable[[], None]]], rounds: int
) -> dict[str, Any]:
    """Return percentiles of one inference [ms], or the reason why there is none."""
    began = time.perf_counter()
    taken_ms = []
    with ExitStack() as held:
        held.callback(_free)
        try:
            infer, end = prepare()
            held.callback(end)
            for _ in range(WARM_UPS):
                infer()
            ready_s = time.perf_counter() - began
            for _ in range(rounds):
                start = time.perf_counter_ns()
                infer()
                taken_ms.append((time.perf_counter_ns() - start) * 1e-6)
        except (EngineError, InferenceFailed, RuntimeError) as error:  # RuntimeError: torch's own
            return {"reason": " ".join(str(error).split())[:300]}
        finally:
            infer = end = None  # type: ignore[assignment] # or its memory could not be freed
    p50, p99 = np.percentile(taken_ms, [50, 99])
    return {
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "max_ms": max(taken_ms),
        "ready_s": ready_s,
    }


def _with_torch(subject: Subject, name: str, device: str) -> tuple[Infer, Callable[[], None]]:
    module = subject.make()
    feed = list(subject.inputs.values())
    if name == "torch compile":
        module = torch.compile(module)  # type: ignore[assignment]
    if device == "cuda":
        runner = CudaRunner(module, captured=name == "torch cuda graphs")
    else:
        arguments = [torch.from_numpy(value) for value in feed]

    def infer() -> None:
        with torch.inference_mode():
            if device == "cuda":
                runner(feed)
            else:
                module(*arguments)

    return infer, torch._dynamo.reset


def _with_engine(subject: Subject, name: str, folder: Path) -> tuple[Infer, Callable[[], None]]:
    threads = torch.get_num_threads()
    engine = open_engine(
        subject.graph(),
        EngineChoice(backends=(name,), threads=threads),
        EngineOptions(cache=folder / "engines", progress=_tell),
    )
    return lambda: engine.infer(subject.inputs), engine.close


def _free() -> None:
    """Give the memory back, so that the next one has it, whether this one ran or not."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def draw_table(results: Mapping[str, Any]) -> Table:
    """Return a table of all models and backends."""
    title = f"bench/gpu.py on {results['device']}, torch {results['torch']}"
    table = Table(
        "model", "backend", "p50 [ms]", "p99 [ms]", "x eager", title=title, title_justify="left"
    )
    for model, found in results["models"].items():
        what = f"{model} ({found['parameters'] / 1e6:.0f} M, {found['precision']})"
        for backend, row in found["backends"].items():
            if "reason" in row:
                table.add_row(what, backend, "-", "-", row["reason"])
                continue
            times = f"{row['times_eager']:.1f}" if "times_eager" in row else "-"
            table.add_row(what, backend, f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}", times)
    return table


if __name__ == "__main__":
    sys.exit(main())
