"""Makes a bundle of a bundle: other graphs of the same weights, checked, timed and reported."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vla_ros.core.errors import EngineError, UserError
from vla_ros.engine.engine import LARGEST_BATCH
from vla_ros.engine.exporting.engines import BuiltFile, build_engines, require_builder
from vla_ros.engine.exporting.graphs import GraphExport, GraphExporter
from vla_ros.engine.exporting.observations import RecordedInputs
from vla_ros.engine.exporting.precisions import CALIBRATED, require_possible
from vla_ros.engine.exporting.random_inputs import random_inputs
from vla_ros.engine.exporting.request import ExportRequest
from vla_ros.engine.exporting.timing import Timings, graph_of, time_backends
from vla_ros.policy.bundle import GRAPH, GROUNDING, Bundle, write_description

GRAPHS = (GRAPH, GROUNDING)
#: Observations that outputs are compared on at most, spread over all.
COMPARED = 160
#: Observations that engines are timed with.
TIMED = 16

#: Called with the bundle as it was and as it is now; returns how often each succeeds.
Play = Callable[[Path, Path], Mapping[str, Any]]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was made, and all that is known of it.

    Attributes:
        request: What was wanted.
        bundle: What was made.
        parent_sha256: Of the bundle that it was made of.
        recorded: How the observations came about; empty for random inputs.
        graphs: One for each graph.
        engines: Files that were built for GPUs.
        success: In simulation, before and after; says 0 episodes if nothing was played.
        timings: By graph.
    """

    request: ExportRequest
    bundle: Bundle
    parent_sha256: str
    recorded: Mapping[str, Any]
    graphs: tuple[GraphExport, ...]
    engines: tuple[BuiltFile, ...] = ()
    success: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, Timings] = field(default_factory=dict)


#: Writes the report of what was made into its folder.
Write = Callable[[Exported, Path], None]


def export_bundle(
    request: ExportRequest,
    recorded: RecordedInputs | None,
    write_report: Write,
    *,
    play: Play | None = None,
    say: Say = lambda text: None,
) -> Exported:
    """Make graphs, and engines where the target has some, and write them as a bundle.

    Either everything is made and checked and `output` is there, or nothing is left.

    Args:
        request: What is wanted.
        recorded: Real observations; None compares on random inputs and cannot calibrate.
        write_report: Writes the report into the folder before that becomes `output`.
        play: Measures success in simulation; None leaves that out, and the report says so.
        say: Is told what is being done.

    Raises:
        ParityError: if what was made is too far from torch; names the worst output.
        EngineError: if the target cannot do it, or a graph cannot be made; says why.
        UserError: if the output is there already, or the observations do not fit.
    """
    parent = Bundle.open(request.source)
    check_request(request, recorded)
    with _staged(request.output) as folder:
        exporter = GraphExporter(
            request.source, folder, request.precision, request.target, parent.sha256
        )
        rows = _rows(parent, recorded, request.precision)
        made = tuple(exporter.export(name, rows[name], say) for name in GRAPHS)
        about = dict(recorded.about) if recorded is not None else {}
        bundle = _describe(folder, parent, request, made, about)
        engines = build_engines(request, folder, say)
        success = {"episodes": 0} if play is None else dict(play(request.source, folder))
        timings = {
            name: time_backends(
                {
                    request.names[0]: graph_of(request.source, name),
                    request.names[1]: graph_of(folder, name),
                },
                rows[name][:TIMED],
                request.threads,
                say,
                request.rounds,
                also=(request.backend,),
            )
            for name in GRAPHS
        }
        exported = Exported(
            request=request,
            bundle=replace(bundle, directory=request.output),
            parent_sha256=parent.sha256,
            recorded=about,
            graphs=made,
            engines=engines,
            success=success,
            timings=timings,
        )
        write_report(exported, folder)
    return exported


def check_request(request: ExportRequest, recorded: RecordedInputs | None) -> None:
    """Refuse what cannot be made, before anything takes long.

    Raises:
        EngineError: if the target cannot do it, or there is nothing to calibrate with.
        UserError: if the output is there already.
    """
    require_possible(request.target, request.precision)
    if request.robots not in (1, LARGEST_BATCH):
        raise EngineError(
            f"--robots {request.robots}: an engine serves 1, as a robot has it, or up to "
            f"{LARGEST_BATCH}, as a server has it; no other one is ever looked for"
        )
    if recorded is None and request.precision in CALIBRATED:
        raise EngineError(
            f"--precision {request.precision} is calibrated on recorded observations, and there "
            "are none: leave --episodes above 0 to record some in simulation, or name a file of "
            "some with --calibration"
        )
    if request.output.exists() and (not request.output.is_dir() or any(request.output.iterdir())):
        raise UserError(f"{request.output}: is there already; name another OUTPUT, or remove it")
    require_builder(request)


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """Yield a folder beside `output` that becomes it at the end, or is removed if that fails."""
    folder = output.with_name(f".{output.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
        if output.is_dir():
            output.rmdir()  # it is empty, or the request would have been refused
        folder.rename(output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _rows(
    parent: Bundle, recorded: RecordedInputs | None, precision: str
) -> dict[str, list[dict[str, Any]]]:
    if recorded is None:
        return random_inputs(parent)
    names = random_inputs(parent, count=1)
    for name in GRAPHS:
        recorded.require(name, tuple(names[name][0]), f"--precision {precision}")
    return {name: recorded.rows(name, COMPARED) for name in GRAPHS}


def _describe(
    folder: Path,
    parent: Bundle,
    request: ExportRequest,
    made: tuple[GraphExport, ...],
    recorded: Mapping[str, Any],
) -> Bundle:
    """Copy what stays as it is, and write `bundle.json`."""
    for path in sorted(parent.directory.iterdir()):
        licence = path.suffix == ".txt"
        if path.is_file() and path.name not in GRAPHS and (licence or path.name in parent.files):
            shutil.copyfile(path, folder / path.name)
    quantized = {each.name: each.quantization for each in made if each.quantization}
    export: dict[str, Any] = {
        "parent": parent.name,
        "parent_sha256": parent.sha256,
        "target": request.target,
        "precision": request.precision,
    }
    if quantized:
        first = next(iter(quantized.values()))
        export["calibration"] = {
            "method": first.method,
            "observations": first.rows,
            "recorded": dict(recorded),
            "nodes": {name: len(each.nodes) for name, each in quantized.items()},
        }
    return write_description(
        folder,
        name=f"{parent.name}-{request.precision}",
        policy=parent.policy,
        contract=parent.contract,
        training=parent.training,
        files=tuple(parent.files),
        export=export,
    )
