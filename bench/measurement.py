"""A row of the README's table: what is measured, by which command, and what its cell says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent
Results = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One row of the table.

    Attributes:
        name: Of the file with the results.
        what: It shows, in words.
        command: That measures it, `vla_ros` or a script of bench/ first.
        musts: Its table in bench/musts.toml.
        must: What that asks for in words, and in brackets what it should be.
        shown: Makes the cell of its results.
    """

    name: str
    what: str
    command: str
    musts: str
    must: str
    shown: Callable[[Results], str]

    def run(self, path: Path) -> None:
        """Measure, and write the results to `path`.

        Raises:
            CalledProcessError: if it fails.
        """
        program, *arguments = self.command.split()
        start = (
            [sys.executable, "-m", "vla_ros.cli.app"]
            if program == "vla_ros"
            else [sys.executable, str(BENCH.parent / program)]
        )
        subprocess.run([*start, *arguments, "--json", str(path)], check=True)

    def row(self, results: Results) -> str:
        """Return the row in Markdown."""
        return f"| {self.what} | `{self.command}` | {self.must} | {self.shown(results)} |"
