"""Measures the path around a bundle's policy: `vla_ros bench` and `bench/stages.py`.

python -m vla_ros.cli.path_measurement OPTIONS does so in a process of its own, for `vla_ros
bench`: options are JSON, and every line that is printed is, too.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vla_ros.cli.stage_times import spread
from vla_ros.contract import FeatureKind, ObservationSpec, RobotContract
from vla_ros.contract.specs import COMPRESSED
from vla_ros.core.errors import UserError
from vla_ros.core.protocols import Policy
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.engine import Engine, EngineDescription, Graph
from vla_ros.engine.fitted_policy import open_fitted
from vla_ros.engine.timed_engine import EngineCall, TimedEngine
from vla_ros.policy.bundle import Bundle

#: Told how many frames are done.
Progress = Callable[[int], None]

INSTRUCTION = "lift the red cube"
#: Frames before those that are measured: what the words mean is looked for in the first ones.
WARM_UP = 60
#: Frames after those, of which the work is measured and not the time.
WORK = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class PathOptions:
    """What is measured.

    Attributes:
        bundle: Directory of the policy.
        backend: Engine that runs its graphs, `name` or `name:argument`.
        threads: CPU threads of an inference.
        images: Width and height of the cameras' images [px]; None for the bundle's own.
        ticks: Frames that are measured.
        compressed: Whether the cameras send JPEG and compressed depth.
    """

    bundle: Path
    backend: str = "onnxruntime"
    threads: int = 1
    images: tuple[int, int] | None = None
    ticks: int = 400
    compressed: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            UserError: names the option, what was expected and what came.
        """
        for name in ("threads", "ticks"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: expected 1 or more, got {getattr(self, name)}")


def read_size(text: str) -> tuple[int, int]:
    """Return width and height [px] of a text such as `640x480`.

    Raises:
        UserError: if it is no such text, or an image of that size makes no sense.
    """
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(16 <= length <= 8192 for length in size):
        raise UserError(
            f"images: expected WIDTHxHEIGHT, 16 to 8192 px each, such as 640x480, got '{text}'"
        )
    return size


def measure_path(options: PathOptions, progress: Progress = lambda done: None) -> dict[str, Any]:
    """Return how long each stage takes [ms], and `overhead`: all but the model and the executor.

    Args:
        options: What is measured.
        progress: Told how many frames are done.

    Raises:
        UserError: if the bundle or the backend cannot be used, or the path stops somewhere.
    """
    contract = resized(RobotContract.from_dict(Bundle.open(options.bundle).contract), options)
    calls: list[EngineCall] = []
    before_bytes = resident_bytes()
    policy, inner, engines = open_timed(options, contract, calls)
    policy.start(INSTRUCTION)
    loaded_bytes = resident_bytes()
    with _node() as node:
        # rclpy reads the environment as it is imported
        from vla_ros.cli.path_run import PathRun

        run = PathRun(node, contract, policy, calls)
        try:
            warm = run.run(WARM_UP)
            times = run.run(options.ticks, progress)
            run.clock = time.thread_time_ns
            for engine in engines:
                engine.clock = time.thread_time_ns
            work = run.run(WORK)
            copies = run.copies(lambda: inner.inputs)
        finally:
            run.close()
    overhead = [sum(each) for each in zip(times.before, times.after, strict=True)]
    cameras = [spec for spec in contract.observations if spec.camera]
    return {
        "bundle": policy.name,
        "engines": [describe(engine.describe()) for engine in engines],
        "threads": options.threads,
        "images": {
            spec.feature: f"{spec.width}x{spec.height} {spec.encoding}" for spec in cameras
        },
        "ticks": options.ticks,
        "stages": {name: spread(values) for name, values in times.stages.items()},
        # what is looked for at first only is told by the first frames
        "graphs": {name: spread(values) for name, values in (warm.graphs | times.graphs).items()},
        "before": spread(times.before),
        "after": spread(times.after),
        "overhead": spread(overhead),
        # the thread's own work alone: what other processes take of the machine is not in it
        "overhead_work": spread([sum(each) for each in zip(work.before, work.after, strict=True)]),
        "chunks_taken": times.taken / options.ticks,
        "copies": copies,
        "memory": {
            "process_bytes": resident_bytes(),
            "engine_bytes": max(0, loaded_bytes - before_bytes),
        },
    }


def open_timed(
    options: PathOptions, contract: RobotContract, calls: list[EngineCall]
) -> tuple[Policy, BundlePolicy, Sequence[TimedEngine]]:
    """Return the policy for a robot, the bundle's own in it, and its engines, which note `calls`.

    Raises:
        UserError: if the bundle or the backend cannot be used; says why.
    """
    engines: list[TimedEngine] = []
    inner: list[BundlePolicy] = []

    def timed(graph: Graph, choice: EngineChoice) -> Engine:
        engines.append(TimedEngine(open_engine(graph, choice), calls))
        return engines[-1]

    def opened(directory: str, robot: RobotContract, choice: EngineChoice) -> Policy:
        inner.append(BundlePolicy(directory, robot, choice, open_graph=timed))
        return inner[-1]

    choice = EngineChoice(backends=(options.backend,), threads=options.threads)
    policy, _ = open_fitted(opened, str(options.bundle), contract, choice)
    return policy, inner[-1], engines


def resized(contract: RobotContract, options: PathOptions) -> RobotContract:
    """Return the contract with the images that are wanted."""

    def wanted(spec: ObservationSpec) -> ObservationSpec:
        if options.images is not None:
            width, height = options.images
            spec = replace(spec, width=width, height=height)
        if options.compressed:
            jpeg = spec.kind is FeatureKind.IMAGE
            spec = replace(spec, type=COMPRESSED, encoding="jpeg" if jpeg else spec.encoding)
        return spec

    specs = (wanted(spec) if spec.camera else spec for spec in contract.observations)
    return replace(contract, observations=tuple(specs))


def describe(description: EngineDescription) -> dict[str, str]:
    """Return what runs a graph, in words."""
    return {
        "graph": description.graph,
        "backend": description.backend,
        "version": description.version,
        "device": description.device,
        "precision": description.precision,
    }


def resident_bytes() -> int:
    """Return the memory that this process holds; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def _node() -> Iterator[Any]:
    """A node on this machine only, in a domain of its own."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    import rclpy

    from vla_ros.ros.domains import choose_domain

    context = rclpy.Context()
    context.init(args=[], domain_id=choose_domain())
    node = rclpy.create_node("bench", context=context, enable_rosout=False)
    try:
        yield node
    finally:
        node.destroy_node()
        context.shutdown()


def main(text: str) -> int:
    """Measure what options in JSON say; print progress, then the result or the error."""
    values = json.loads(text)
    values["bundle"] = Path(values["bundle"])
    values["images"] = tuple(values["images"]) if values["images"] else None
    try:
        result = measure_path(PathOptions(**values), lambda done: _print({"done": done}))
    except UserError as error:
        _print({"error": str(error)})
        return 2
    _print({"result": result})
    return 0


def _print(values: dict[str, Any]) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
