"""How every measuring command ends: a table, the JSON file, and the musts."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vla_ros.cli.musts import Musts


def conclude(
    command: str,
    results: Mapping[str, Any],
    *,
    json_path: Path | None = None,
    check: bool = False,
    musts_file: Path | None = None,
    table: Table | None = None,
) -> int:
    """Print the results, write them, check them, and return the exit status.

    Args:
        command: Name of the command's table in `bench/musts.toml`.
        results: What was measured; the machine is added.
        json_path: Where to write it; None for nowhere.
        check: Whether a must that falls short makes the exit status 1.
        musts_file: Another file of musts.
        table: What to print in place of every value by its key.

    Raises:
        UserError: if it is checked and there are no musts for the command.
    """
    console = Console(soft_wrap=True)
    results = {**results, "machine": describe_machine()}
    console.print(table or _table(command, results))
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if not check:
        return 0
    verdicts = Musts.load(command, musts_file).verdicts(results)
    for line, good in verdicts:
        console.print(f"{'ok   ' if good else 'SHORT'}  {line}", highlight=False, markup=False)
    return 0 if all(good for _, good in verdicts) else 1


def describe_machine() -> dict[str, Any]:
    """Return what a number depends on: processor, cores, system, Python."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _table(command: str, results: Mapping[str, Any]) -> Table:
    table = Table("what", "value", title=command, title_justify="left")
    for key, value in _flatten(results):
        table.add_row(key, f"{value:.4g}" if isinstance(value, float) else str(value))
    return table


def _flatten(results: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in results.items():
        if isinstance(value, Mapping):
            rows += _flatten(value, f"{prefix}{key}.")
        elif not isinstance(value, list | tuple):
            rows.append((f"{prefix}{key}", value))
    return rows
