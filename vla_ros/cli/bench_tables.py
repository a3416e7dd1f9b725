"""The tables that `vla_ros bench` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from vla_ros.cli.stage_times import STAGES
from vla_ros.engine.machine_peak import MachinePeak

#: What each stage is, for people.
MEANINGS = {
    "callback": "message to feature",
    "decode": "compressed images, aside",
    "build": "aligned observation",
    "preprocess": "observation to network input",
    "infer": "all graphs",
    "postprocess": "network output to message",
    "publish": "chunk sent",
    "executor": "ROS, until the gate hears",
    "receive": "chunk read",
    "gate": "admitted, first command",
    "command": "command sent",
}
TOTALS = {
    "before": "callback to network input",
    "after": "network output to command",
    "overhead": "both: all but infer and executor",
    "overhead_work": "the same, without what other processes take",
}


def print_stages(console: Console, measured: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the time of each stage, and the copies and the memory, of each backend."""
    table = Table(title="p50 / p99 / max in ms", title_justify="left")
    table.add_column("stage")
    table.add_column("what")
    for name, each in measured.items():
        engine = each["engines"][0]
        table.add_column(f"{name}\n{engine['version']}, {engine['precision']}", justify="right")
    for stage in STAGES:
        values = [each["stages"][stage] for each in measured.values()]
        if any(value["max_ms"] > 0.0 for value in values):
            table.add_row(stage, MEANINGS[stage], *map(_times, values))
        if stage == "infer":
            _add_graphs(table, measured)
    table.add_section()
    for total, what in TOTALS.items():
        table.add_row(total, what, *(_times(each[total]) for each in measured.values()))
    table.add_section()
    for key, what in (
        ("process_bytes", "of the process"),
        ("engine_bytes", "for bundle, engines"),
    ):
        sizes = (f"{each['memory'][key] / 2**20:.0f} MiB" for each in measured.values())
        table.add_row("memory", what, *sizes)
    console.print(table)
    _print_copies(console, next(iter(measured.values())))


def print_arithmetic(
    console: Console,
    measured: Mapping[str, Mapping[str, Any]],
    model: Mapping[str, Any],
    peak: MachinePeak,
) -> None:
    """Print what each graph computes, and how near each backend comes to the machine's peak."""
    console.print(
        f"This machine at its best, {peak.threads} threads: {peak.flops_per_s / 1e9:.1f} GFLOP/s "
        f"(float32 product), {peak.bytes_per_s / 1e9:.1f} GB/s (copy).",
        highlight=False,
    )
    if "error" in model:
        console.print(f"not counted: {model['error']}", markup=False, highlight=False)
        return
    table = Table(title="the model, per inference", title_justify="left")
    for column in ("graph", "MFLOP", "parameters", "MB", "ms at peak"):
        table.add_column(column, justify="left" if column == "graph" else "right")
    for name in measured:
        table.add_column(f"{name}\nof peak", justify="right")
    for graph, counted in model.items():
        bound_ms = least_ms(counted, peak)
        shares = []
        for each in measured.values():
            took = each["graphs"].get(graph)
            shares.append(f"{100 * bound_ms / took['p50_ms']:.0f} %" if took else "")
        table.add_row(
            graph,
            f"{counted['flops'] / 1e6:.1f}",
            f"{counted['parameters'] / 1e6:.2f} M",
            f"{counted['parameter_bytes'] / 1e6:.1f}",
            f"{bound_ms:.2f}",
            *shares,
        )
    console.print(table)
    for graph, counted in model.items():
        if left_out := counted.get("uncounted"):
            names = ", ".join(f"{count} {name}" for name, count in left_out.items())
            console.print(f"not counted in {graph}: {names}, of unknown shapes", highlight=False)


def least_ms(counted: Mapping[str, Any], peak: MachinePeak) -> float:
    """Return the time that a graph takes at the machine's peak [ms]: products, or memory."""
    computing = counted["flops"] / peak.flops_per_s
    moving = (counted["parameter_bytes"] + counted["in_out_bytes"]) / peak.bytes_per_s
    return 1e3 * float(max(computing, moving))


def _add_graphs(table: Table, measured: Mapping[str, Mapping[str, Any]]) -> None:
    names = dict.fromkeys(graph for each in measured.values() for graph in each["graphs"])
    for graph in names:
        found = [each["graphs"].get(graph) for each in measured.values()]
        table.add_row("", graph, *(_times(each) if each else "" for each in found))


def _print_copies(console: Console, result: Mapping[str, Any]) -> None:
    table = Table(title="from message to network input", title_justify="left")
    for column in ("feature", "image", "message kB", "copies", "written kB"):
        table.add_column(column, justify="left" if column in ("feature", "image") else "right")
    for feature, each in result["copies"].items():
        table.add_row(
            feature,
            result["images"][feature],
            f"{each['message_bytes'] / 1e3:.0f}",
            str(each["copies"]),
            f"{each['written_bytes'] / 1e3:.0f}",
        )
    console.print(table)


def _times(values: Mapping[str, float]) -> str:
    return " / ".join(f"{values[key]:.2f}" for key in ("p50_ms", "p99_ms", "max_ms"))
