"""The part of `vla_ros export` that plays in simulation and prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from vla_ros.cli.episode_bar import episode_bar
from vla_ros.cli.measurement import describe_machine
from vla_ros.core.errors import ContractError, UserError
from vla_ros.engine.exporting.export import Exported, Play, check_request, export_bundle
from vla_ros.engine.exporting.observations import RecordedInputs
from vla_ros.engine.exporting.report import MARKDOWN, success_words, verdict, write_report
from vla_ros.engine.exporting.request import ExportRequest
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.recording import record_inputs
from vla_ros.evaluation.suite import evaluate

#: Episodes of training's kind that observations are recorded in.
RECORDED_EPISODES = 24


def export_to_bundle(
    request: ExportRequest,
    *,
    calibration: Path | None,
    record: Path | None,
    episodes: int,
    workers: int,
) -> Exported:
    """Record observations unless there are some, export, and print what came of it.

    Args:
        request: What is wanted.
        calibration: File of recorded observations; None records some.
        record: Where to keep what is recorded; None for nowhere.
        episodes: That success is measured with, before and after; 0 plays nothing at all.
        workers: Processes that play them.

    Raises:
        UserError: if it cannot be made; says why, and what to do.
    """
    if record is not None and (calibration is not None or episodes == 0):
        raise UserError(
            f"--record {record} keeps what is recorded, and with "
            f"{'--episodes 0' if calibration is None else '--calibration'} nothing is; leave out "
            "one of the two"
        )
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    recorded = None if calibration is None else RecordedInputs.load(calibration)
    if recorded is None and episodes > 0:
        nothing = RecordedInputs(graphs={})
        check_request(request, nothing)  # before anything is played
        recorded = _record(request, console)
        if record is not None:
            recorded.save(record)
    exported = export_bundle(
        request,
        recorded,
        write_report(describe_machine()),
        play=_player(episodes, workers) if episodes > 0 else None,
        say=lambda text: console.print(text, style="dim"),
    )
    _print(exported)
    return exported


def _record(request: ExportRequest, console: Console) -> RecordedInputs:
    with Progress(console=console) as progress:
        task = progress.add_task("recording observations", total=RECORDED_EPISODES)
        try:
            return record_inputs(
                request.source,
                episodes=RECORDED_EPISODES,
                threads=request.threads,
                on_episode=lambda done: progress.update(task, completed=done),
            )
        except ContractError as error:
            raise ContractError(
                f"{error}. Observations are recorded with the simulated robot; for another one "
                "name a file of some with --calibration, or compare on random inputs with "
                "--episodes 0"
            ) from error


def _player(episodes: int, workers: int) -> Play:
    """Return what measures success in simulation on the same scenes, before and after."""

    def play(before: Path, after: Path) -> dict[str, Any]:
        plan, rates = EvaluationPlan(episodes=episodes), {}
        with episode_bar(2 * episodes) as watch:
            for name, bundle in (("before", before), ("after", after)):
                report = evaluate(bundle, plan, workers=workers, on_episode=watch(name))
                rates[name] = report.success
        seeds = [plan.first_seed, plan.first_seed + episodes - 1]
        return {"episodes": episodes, "suite": plan.suite, "seeds": seeds, **rates}

    return play


def _print(exported: Exported) -> None:
    console = Console(soft_wrap=True, highlight=False)
    request = exported.request
    table = Table("graph", "worst output", "largest", "mean", "cosine", title="against torch")
    for graph in exported.graphs:
        worst = graph.worst
        table.add_row(
            f"{graph.name} in {graph.parity_precision}",
            worst.output,
            f"{worst.max_error:.2g}",
            f"{worst.mean_error:.2g}",
            f"{worst.cosine:.6f}",
        )
    console.print(table)
    if exported.engines:
        files = Table("engine", "for", "precision", "library", "bytes", "built in")
        for each in exported.engines:
            files.add_row(
                Path(each.path).name,
                each.device,
                each.precision,
                each.library,
                f"{each.bytes:,}",
                f"{each.built_s:.1f} s",
            )
        console.print(files)
    console.print(_timing_table(exported))
    console.print(success_words(exported))
    console.print(verdict(exported))
    console.print(f"{request.output}: bundle '{exported.bundle.name}', {exported.bundle.sha256}")
    console.print(f"Everything else is in {request.output / MARKDOWN}")


def _timing_table(exported: Exported) -> Table:
    title = f"one inference, {exported.request.threads} thread(s)"
    table = Table("graph", "backend", "computes in", "graph of", "median", title=title)
    for name, timings in exported.timings.items():
        for each in timings.found:
            found = each.description
            row = (found.backend, found.precision, each.bundle, f"{each.median_ms:.2f} ms")
            table.add_row(name, *row)
    return table
