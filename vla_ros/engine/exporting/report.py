"""The report of an export, for programs (report.json) and for people (report.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vla_ros.engine.exporting.export import Exported
from vla_ros.engine.exporting.graphs import GraphExport
from vla_ros.engine.exporting.precisions import TOLERANCES
from vla_ros.engine.exporting.request import ExportRequest
from vla_ros.engine.exporting.timing import Timing, Timings
from vla_ros.engine.grounding import LOOKED_S
from vla_ros.policy.bundle import GRAPH, GROUNDING, LANGUAGE

JSON, MARKDOWN = "report.json", "report.md"
#: How often each graph of a bundle runs: that is how the policy is split.
HOW_OFTEN = {
    LANGUAGE: "once for an instruction; its result is kept for instructions that come again",
    GROUNDING: (
        f"at the first images of an instruction, until it is clear what is meant, for "
        f"{LOOKED_S:g} s at most; its result is kept until the next instruction"
    ),
    GRAPH: "for every observation",
}


def write_report(machine: Mapping[str, Any]) -> Callable[[Exported, Path], None]:
    """Return what writes the report of an export into a folder.

    Args:
        machine: What the numbers depend on: processor, cores, system.
    """

    def write(exported: Exported, folder: Path) -> None:
        data = to_dict(exported) | {"machine": dict(machine)}
        (folder / JSON).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        text = "\n".join(to_markdown(exported, machine)) + "\n"
        (folder / MARKDOWN).write_text(text, encoding="utf-8")

    return write


def to_dict(exported: Exported) -> dict[str, Any]:
    """Return everything as plain data."""
    request = exported.request
    return {
        "bundle": exported.bundle.name,
        "parent_sha256": exported.parent_sha256,
        "target": request.target,
        "precision": request.precision,
        "threads": request.threads,
        "recorded": dict(exported.recorded),
        "how_often": HOW_OFTEN,
        "graphs": {each.name: _graph(each) for each in exported.graphs},
        "engines": [asdict(each) for each in exported.engines],
        "success": dict(exported.success),
        "played_in": request.graph_precision,
        "timings": {name: _timings(each) for name, each in exported.timings.items()},
        "fastest": verdict(exported),
    }


def verdict(exported: Exported) -> str:
    """Return in words what is fastest here, for the graph that runs with every observation."""
    timings = exported.timings[GRAPH]
    fastest, request = timings.fastest, exported.request
    built = built_timing(exported)
    words = f"{_called(fastest)}: {fastest.median_ms:.2f} ms"
    if built is None:
        return (
            f"What was built cannot run here, so it was not timed. Fastest here is {words} for "
            f"{GRAPH}."
        )
    if built is fastest:
        return f"What was built is fastest here: {words} for {GRAPH}."
    return (
        f"What was built is NOT fastest here. Fastest is {words} for {GRAPH}; what was built, "
        f"{_called(built)}, takes {built.median_ms:.2f} ms, "
        f"{built.median_ms / fastest.median_ms:.2f} times as long. Run it with --policy "
        f"{_path(fastest, request)} --backend {fastest.description.backend} --threads "
        f"{request.threads}."
    )


def built_timing(exported: Exported) -> Timing | None:
    """Return the time of what was built, on the backend that it was built for."""
    request = exported.request
    return next(
        (
            each
            for each in exported.timings[GRAPH].found
            if each.bundle == request.names[1] and each.description.backend == request.backend
        ),
        None,
    )


def success_words(exported: Exported) -> str:
    """Return in words how often the bundle succeeds before and after, and what of it played."""
    success, request = exported.success, exported.request
    if not success.get("episodes"):
        return "Success in simulation was not measured (--episodes 0)."
    return (
        f"Success in simulation, {success['episodes']} episodes, the same scenes: "
        f"{100 * success['before']:.1f} % before, {100 * success['after']:.1f} % after. Played by "
        f"ONNX Runtime in {request.graph_precision}"
        + ("." if request.target == "onnx" else ", not by the engines that were built.")
    )


def to_markdown(exported: Exported, machine: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the report for people."""
    request = exported.request
    yield f"# {exported.bundle.name}"
    yield ""
    yield (
        f"{request.target} in {request.precision}, made of a bundle with SHA-256 "
        f"{exported.parent_sha256}. Times with {request.threads} thread(s) on "
        f"{machine.get('cpu', 'an unknown CPU')}, {machine.get('cores', '?')} cores."
    )
    yield f"\n{verdict(exported)}\n"
    yield success_words(exported)
    yield "\n## How the policy is split\n"
    yield "| graph | runs |\n| --- | --- |"
    for name, often in HOW_OFTEN.items():
        yield f"| {name} | {often} |"
    for graph in exported.graphs:
        yield from _graph_lines(graph)
        yield from _timing_lines(exported.timings[graph.name])
    if exported.engines:
        yield "\n## Engines\n"
        yield "| file | graph | for | precision | library | bytes | built in |"
        yield "| --- | --- | --- | --- | --- | --- | --- |"
        for each in exported.engines:
            yield (
                f"| {each.path} | {each.graph} | {each.device} | {each.precision} | "
                f"{each.library} | {each.bytes} | {each.built_s:.1f} s |"
            )
    absent = {name: why for each in exported.timings.values() for name, why in each.absent.items()}
    yield "\n## Not timed\n"
    for backend, reason in absent.items():
        yield f"- {backend}: {reason}"
    recorded = json.dumps(dict(exported.recorded)) if exported.recorded else "random inputs"
    yield f"\nObservations: {recorded}"


def _graph_lines(graph: GraphExport) -> Iterator[str]:
    simple, tolerance = graph.simplification, TOLERANCES[graph.parity_precision]
    yield f"\n## {graph.name}\n"
    yield (
        f"{simple.nodes_before} nodes, {simple.nodes_after} after {simple.by}; "
        f"{graph.bytes_before} bytes, {graph.bytes_after} after."
    )
    if graph.quantization is not None:
        done = graph.quantization
        yield (
            f"\n{len(done.nodes)} nodes compute in {graph.precision}, with ranges from "
            f"{done.rows} observations ({done.method}). In floating point stay:"
        )
        yield ""
        for name, reason in done.kept.items():
            yield f"- {name}: {reason}"
    yield (
        f"\nAgainst torch on {graph.observations} observations, compared in "
        f"{graph.parity_precision}; allowed: mean {tolerance.mean:.2g}"
        + (f", largest {tolerance.largest:.2g}" if tolerance.largest is not None else "")
        + f" (shares of the largest value if that is above 1), cosine {tolerance.cosine}, since "
        f"of {tolerance.why}.\n"
    )
    yield "| output | largest difference | mean | cosine | largest value |"
    yield "| --- | --- | --- | --- | --- |"
    for each in graph.parity:
        yield (
            f"| {each.output} | {each.max_error:.2g} | {each.mean_error:.2g} | "
            f"{each.cosine:.6f} | {each.scale:.3g} |"
        )


def _timing_lines(timings: Timings) -> Iterator[str]:
    yield "\n| backend | graph of | computes in | median | 95 of 100 |"
    yield "| --- | --- | --- | --- | --- |"
    for each in timings.found:
        yield (
            f"| {each.description.backend} {each.description.version} | {each.bundle} | "
            f"{each.description.precision} | {each.median_ms:.2f} ms | {each.p95_ms:.2f} ms |"
        )


def _path(timing: Timing, request: ExportRequest) -> Path:
    return request.output if timing.bundle == request.names[1] else request.source


def _called(timing: Timing) -> str:
    found = timing.description
    return f"{found.backend} in {found.precision} with the graph of {timing.bundle}"


def _graph(graph: GraphExport) -> dict[str, Any]:
    tolerance = TOLERANCES[graph.parity_precision]
    quantization = None if graph.quantization is None else asdict(graph.quantization)
    return {
        "precision": graph.precision,
        "simplification": asdict(graph.simplification),
        "quantization": quantization,
        "observations": graph.observations,
        "compared_in": graph.parity_precision,
        "tolerance": asdict(tolerance),
        "worst": graph.worst.output,
        "parity": {each.output: asdict(each) for each in graph.parity},
        "bytes_before": graph.bytes_before,
        "bytes_after": graph.bytes_after,
    }


def _timings(timings: Timings) -> dict[str, Any]:
    return {
        "found": [
            {
                "backend": each.description.backend,
                "version": each.description.version,
                "device": each.description.device,
                "precision": each.description.precision,
                "bundle": each.bundle,
                "median_ms": each.median_ms,
                "p95_ms": each.p95_ms,
            }
            for each in timings.found
        ],
        "absent": dict(timings.absent),
    }
