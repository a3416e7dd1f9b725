"""`vla_ros bench`: where the time goes, stage by stage, on every backend that is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from vla_ros.cli.bench_tables import print_arithmetic, print_stages
from vla_ros.cli.measurement import describe_machine
from vla_ros.cli.path_measurement import PathOptions, read_size
from vla_ros.core.errors import DefectError, UserError
from vla_ros.engine.arithmetic import count_arithmetic
from vla_ros.engine.choice import backends, split_backends
from vla_ros.engine.machine_peak import MachinePeak, measure_peak
from vla_ros.policy.bundle import GRAPH, GROUNDING, LANGUAGE, Bundle

#: What runs a graph once per frame at most; the words' graph runs once per instruction.
GRAPHS = (GRAPH, GROUNDING)
HOW_TO_INSTALL = "docs/reference/engines.md says what each backend needs"
ALL = "all"


def bench(
    bundle: Annotated[Path, typer.Argument(help="The policy's bundle.")],
    backend: Annotated[
        str,
        typer.Option(help="Backends with commas between, as `name` or `name:argument`; or all."),
    ] = ALL,
    threads: Annotated[int, typer.Option(help="CPU threads of one inference.")] = 1,
    images: Annotated[
        str | None,
        typer.Option(
            help="Size of the cameras' images, such as 640x480; the bundle's if not given."
        ),
    ] = None,
    ticks: Annotated[int, typer.Option(help="Frames that are measured, per backend.")] = 300,
    compressed: Annotated[
        bool, typer.Option("--compressed", help="The cameras send JPEG and compressed depth.")
    ] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write results here.")] = None,
) -> None:
    """Measure a policy from the sensors' messages to the first command.

    Each backend runs in a process of its own, with real messages through the nodes' own code.
    Prints the time of each stage (median, 99th percentile, maximum), copies and bytes of each
    camera's images, memory, and what the model computes against what this machine can do.
    A backend that cannot run is listed with the reason.

    vla_ros bench models/tabletop-small --images 640x480

    vla_ros bench models/tabletop-small --backend onnxruntime,openvino --threads 2
    """
    opened = Bundle.open(bundle)
    options = PathOptions(
        bundle=bundle,
        threads=threads,
        images=read_size(images) if images else None,
        ticks=ticks,
        compressed=compressed,
    )
    names = chosen(backend)
    console = Console(soft_wrap=True)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("what the machine can do", total=None)
        peak = measure_peak(threads)
        progress.remove_task(task)
        found = {name: _measured(replace(options, backend=name), progress) for name in names}
    results = {
        "machine": describe_machine(),
        "peak": asdict(peak),
        "model": _count(opened),
        "backends": found,
    }
    _print(console, results, peak)
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if all("error" in each for each in found.values()):
        raise UserError("no backend could be measured; the reasons are above")


def chosen(text: str) -> tuple[str, ...]:
    """Return the backends that an option names.

    Raises:
        UserError: if it names none, or one that does not exist; lists those that do.
    """
    if text.strip() == ALL:
        return tuple(sorted(backends()))
    names = tuple(name for name in split_backends(text) if name)
    unknown = [name for name in names if name.partition(":")[0] not in backends()]
    if unknown or not names:
        raise UserError(
            f"backend: expected {ALL}, or some of {', '.join(sorted(backends()))} with commas "
            f"between, got '{', '.join(unknown) or text}'"
        )
    return names


def _measured(options: PathOptions, progress: Progress) -> dict[str, Any]:
    """Return what a process of its own measured, or why it could not."""
    task = progress.add_task(f"{options.backend}: loading", total=options.ticks)

    def advance(done: int) -> None:
        progress.update(task, description=options.backend, completed=done)

    try:
        return measure_aside(options, advance)
    except (UserError, DefectError) as error:  # one that crashes does not hide the others
        return {"error": str(error)}
    finally:
        progress.remove_task(task)


def measure_aside(options: PathOptions, progress: Callable[[int], None]) -> dict[str, Any]:
    """Return what `measure_path` returns, from a process of its own.

    Raises:
        UserError: if it cannot be measured; says why.
        DefectError: if the process ends without a word.
    """
    text = json.dumps(asdict(options) | {"bundle": str(options.bundle)})
    command = [sys.executable, "-m", "vla_ros.cli.path_measurement", text]
    said: dict[str, Any] = {}
    # what libraries say goes into a file: a pipe that nobody reads would fill up and stop them
    with (
        TemporaryFile("w+") as aside,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=aside, text=True) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            said = _read(line) or said
            if "done" in said:
                progress(said["done"])
        process.wait()
        aside.seek(0)
        errors = aside.read()
    if "error" in said:
        raise UserError(said["error"])
    if "result" not in said:
        last = errors.strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
        raise DefectError(f"{options.backend}: its process ended early: {last[0]}")
    return dict(said["result"])


def _read(line: str) -> dict[str, Any]:
    """Return what the process that measures says; nothing where a library talks."""
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _count(bundle: Bundle) -> dict[str, Any]:
    """Return what each graph computes, or why that is not known."""
    try:
        return {name: asdict(count_arithmetic(bundle.file(name))) for name in (*GRAPHS, LANGUAGE)}
    except UserError as error:
        return {"error": str(error)}


def _print(console: Console, results: Mapping[str, Any], peak: MachinePeak) -> None:
    machine = results["machine"]
    console.print(f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}")
    measured = {name: each for name, each in results["backends"].items() if "error" not in each}
    if measured:
        print_stages(console, measured)
        print_arithmetic(console, measured, results["model"], peak)
    for name, each in results["backends"].items():
        if "error" in each:
            console.print(f"not measured: {name}: {each['error']}", markup=False, highlight=False)
    if len(measured) < len(results["backends"]):
        console.print(HOW_TO_INSTALL, highlight=False)
