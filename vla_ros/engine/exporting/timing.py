"""Times engines against each other, a few inferences of each in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from vla_ros.core.errors import EngineError, InferenceFailed
from vla_ros.engine.choice import EngineChoice, backends, open_engine
from vla_ros.engine.engine import Arrays, Engine, EngineDescription, Graph

#: Backends with the arguments that are worth a try; what other packages offer comes after them.
TRIED = (
    "onnxruntime",
    "openvino",
    "openvino:bf16",
    "torch",
    "onnxruntime:cuda",
    "torch:cuda-graphs",
    "tensorrt",
    "tensorrt_rtx",
)
#: It needs a server, and its time is that of a network.
_ELSEWHERE = ("remote",)
#: Inferences of an engine in a row, and how many of these do not count: the threads of the engine
#: before may still be spinning.
IN_A_ROW, UNCOUNTED = 8, 2
ROUNDS = 15

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long an engine takes for one inference.

    Attributes:
        description: Of the engine.
        bundle: Name of the bundle that its graph is of.
        median_ms: Median [ms].
        p95_ms: 95 of 100 take no longer [ms].
    """

    description: EngineDescription
    bundle: str
    median_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """What was timed of one graph, fastest first, and why the other backends were not.

    Attributes:
        found: One for each engine.
        absent: Why a backend did not run the graph, or one of the graphs, by backend.
    """

    found: tuple[Timing, ...]
    absent: Mapping[str, str]

    @property
    def fastest(self) -> Timing:
        """The fastest."""
        return self.found[0]


def time_backends(
    graphs: Mapping[str, Graph],
    rows: Sequence[Arrays],
    threads: int,
    say: Callable[[str], None] = lambda text: None,
    rounds: int = ROUNDS,
    *,
    also: Sequence[str] = (),
) -> Timings:
    """Run graphs on every backend that is here.

    Args:
        graphs: By the name of their bundle, the bundle that torch has the weights of first.
        rows: Inputs (1, ...) by name, taken in turn.
        threads: CPU threads of one inference.
        say: Is told what is timed.
        rounds: How often each engine has its turn.
        also: Backends that are tried besides the usual ones.

    Raises:
        EngineError: if no backend runs any of them.
    """
    engines, absent = _open_all(graphs, _candidates(also), threads, say)
    failures: dict[tuple[str, str], str] = {}
    times = measure(engines, rows, rounds, failures)
    for (backend, _), reason in failures.items():
        absent.setdefault(backend, f"it failed while it was timed: {reason}")
    found = [
        Timing(
            description=engine.describe(),
            bundle=key[1],
            median_ms=float(np.median(times[key])),
            p95_ms=float(np.percentile(times[key], 95)),
        )
        for key, engine in engines.items()
        if times[key]
    ]
    for engine in engines.values():
        engine.close()
    if not found:
        raise EngineError("; ".join(absent.values()))
    return Timings(found=tuple(sorted(found, key=lambda each: each.median_ms)), absent=absent)


def measure(
    engines: Mapping[Key, Engine],
    rows: Sequence[Arrays],
    rounds: int = ROUNDS,
    failures: dict[Key, str] | None = None,
) -> dict[Key, list[float]]:
    """Return the times of single inferences [ms] by engine; engines take turns.

    One that fails has none, and why is put into `failures`.
    """
    times: dict[Key, list[float]] = {key: [] for key in engines}
    failed = {} if failures is None else failures
    for turn in range(rounds):
        for key, engine in engines.items():
            if key in failed:
                continue
            for index in range(IN_A_ROW + UNCOUNTED):
                row = rows[(turn * IN_A_ROW + index) % len(rows)]
                began = time.perf_counter()
                try:
                    engine.infer(row)
                except InferenceFailed as error:
                    failed[key] = error.reason
                    times[key] = []
                    break
                if index >= UNCOUNTED:
                    times[key].append(1e3 * (time.perf_counter() - began))
    return times


def graph_of(bundle: Path, name: str) -> Graph:
    """Return a graph of a bundle."""
    return Graph(path=bundle / name, bundle=bundle)


def _open_all(
    graphs: Mapping[str, Graph],
    candidates: Sequence[str],
    threads: int,
    say: Callable[[str], None],
) -> tuple[dict[tuple[str, str], Engine], dict[str, str]]:
    """Return engines by backend and bundle, and why the other backends have none."""
    engines: dict[tuple[str, str], Engine] = {}
    absent: dict[str, str] = {}
    first = next(iter(graphs))
    for backend in candidates:
        # torch computes from the weights, which are the same in all of them
        for name in graphs if not backend.startswith("torch") else (first,):
            say(f"timing: {name} on {backend}")
            try:
                choice = EngineChoice(backends=(backend,), threads=threads)
                engines[backend, name] = open_engine(graphs[name], choice)
            except EngineError as error:
                absent.setdefault(backend, str(error))
    return engines, absent


def _candidates(also: Sequence[str] = ()) -> tuple[str, ...]:
    tried = {name.partition(":")[0] for name in TRIED}
    others = sorted(set(backends()) - tried - set(_ELSEWHERE))
    return tuple(dict.fromkeys((*TRIED, *also, *others)))
