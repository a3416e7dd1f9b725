"""Every measurement of the README, and its table.

python bench/report.py FOLDER

Runs what FOLDER has no result of, one after the other (about 40 minutes on 2 cores, and an idle
machine, please), keeps each result as FOLDER/NAME.json, and prints the table as Markdown. Run it
again to go on where it was stopped; remove a file to measure it anew. Exit status 1: a must falls
short.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_ros.cli.musts import Musts

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


def _success(results: Results) -> str:
    low, high = 100 * results["success_low"], 100 * results["success_high"]
    skills = ", ".join(f"{name} {100 * rate:.0f}" for name, rate in results["per_skill"].items())
    return (
        f"**{100 * results['success']:.1f} %** of {results['episodes']} "
        f"({low:.1f} to {high:.1f}); {skills}"
    )


def _kills(results: Results) -> str:
    nodes = {name: results[name] for name in ("policy", "planner", "sim")}
    held = max(node["hold_after_chunk_end_ms"] for node in nodes.values())
    when = f"at most {held:.0f} ms after" if held > 0 else f"{-held:.0f} ms or more before"
    back = max(node["back_after_s"] for node in nodes.values())
    good = all(node["came_back"] and node["next_goal_succeeded"] for node in nodes.values())
    return (
        f"stands still **{when}** the chunk's end; back within {back:.1f} s; next goals "
        f"{'succeed' if good else 'FAIL'}"
    )


def _through_ros(results: Results) -> str:
    return (
        f"**{100 * results['success']:.1f} %** through ROS, "
        f"{100 * results['direct_success']:.1f} % directly, {results['episodes']} episodes"
    )


def _control(results: Results) -> str:
    return (
        f"{results['gate_rate_hz']:.1f} Hz, p99 jitter "
        f"**{results['gate_jitter_p99_ms']:.2f} ms**; policy "
        f"**{results['policy_rate_hz']:.1f} Hz**; sensor to command p99 "
        f"**{results['sensor_to_command_p99_ms']:.0f} ms**"
    )


def _frames(results: Results) -> str:
    good, bad = results["with_profile"], results["without_profile"]
    named = bad["loss_named"] and bad["cure_named"]
    return (
        f"with: **{100 * good['delivered']:.1f} %**, p99 {good['p99_ms']:.1f} ms; without: "
        f"{100 * bad['delivered']:.0f} %, loss and cure {'named' if named else 'NOT named'}"
    )


EVAL = "vla_ros eval"
MEASUREMENTS = (
    Measurement(
        name="core",
        what="core suite, unseen scenes",
        command=f"{EVAL} --suite core --episodes 200",
        musts="vla_ros eval --suite core",
        must="≥ 93 %, each skill ≥ 85 % (98 %)",
        shown=_success,
    ),
    Measurement(
        name="core-1000",
        what="the same on 1,000 scenes that nobody looked at before",
        command=f"{EVAL} --suite core --episodes 1000 --seed 7000000",
        musts="vla_ros eval --suite core",
        must="the same",
        shown=_success,
    ),
    Measurement(
        name="phrasing",
        what="unseen phrasings",
        command=f"{EVAL} --split phrasing --episodes 200",
        musts="vla_ros eval --split phrasing",
        must="≥ 88 % (95 %)",
        shown=_success,
    ),
    Measurement(
        name="everyday",
        what="everyday sentences of somebody who had seen neither",
        command=f"{EVAL} --phrasings bench/phrasings/everyday.yaml --episodes 300",
        musts="vla_ros eval --split phrasing",
        must="the same",
        shown=_success,
    ),
    Measurement(
        name="combination",
        what="unseen colour-shape pairs",
        command=f"{EVAL} --split combination --episodes 200",
        musts="vla_ros eval --split combination",
        must="≥ 80 % (92 %)",
        shown=_success,
    ),
    Measurement(
        name="ablation",
        what="shuffled instructions: the words decide",
        command=f"{EVAL} --ablate instruction --episodes 200",
        musts="vla_ros eval --ablate instruction",
        must="below 40 %",
        shown=lambda results: f"**{100 * results['success']:.1f} %** of {results['episodes']}",
    ),
    Measurement(
        name="through-ros",
        what="through the nodes, in real time",
        command=f"{EVAL} --through-ros --episodes 60",
        musts="vla_ros eval --through-ros",
        must="within 8 points of direct (equal)",
        shown=_through_ros,
    ),
    Measurement(
        name="control-loop",
        what="rates and latency, everything on 2 cores",
        command="bench/control_loop.py",
        musts="bench/control_loop.py",
        must="100 Hz, p99 ≤ 2 ms (1); ≥ 15 Hz (30); p99 ≤ 120 ms (60)",
        shown=_control,
    ),
    Measurement(
        name="transport",
        what="two 640×480 RGB-D cameras at 30 Hz, Fast DDS profile",
        command="bench/transport.py",
        musts="bench/transport.py",
        must="with: ≥ 99.5 % (100 %), p99 ≤ 25 ms; without: loss and cure named",
        shown=_frames,
    ),
    Measurement(
        name="kill-nodes",
        what="kill -9 of policy, planner, sim in motion",
        command="bench/kill_nodes.py",
        musts="bench/kill_nodes.py",
        must="holds ≤ 100 ms after the chunk's end, comes back, next goal works",
        shown=_kills,
    ),
    Measurement(
        name="gate-tick",
        what="a hostile stream of chunks",
        command="bench/gate_tick.py",
        musts="bench/gate_tick.py",
        must="0 limits broken",
        shown=lambda r: f"**{r['violations']}** in {r['commands']:,} commands",
    ),
    Measurement(
        name="make-demo",
        what="`make demo` in a clean clone, and again",
        command="bench/fresh_clone.py demo",
        musts="make demo",
        must="≤ 5 min (2), ≤ 45 s (20)",
        shown=lambda r: f"**{r['first_s']:.0f} s**, **{r['second_s']:.0f} s**",
    ),
    Measurement(
        name="make-test",
        what="`make test` in a clean clone",
        command="bench/fresh_clone.py test",
        musts="make test",
        must="≤ 20 min (8)",
        shown=lambda r: f"**{r['first_s'] / 60:.1f} min**",
    ),
)


def main() -> int:
    """Measure what is missing, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the results are kept")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    rows, short = [], []
    for measurement in MEASUREMENTS:
        path = folder / f"{measurement.name}.json"
        if not path.exists():
            measurement.run(path)
        results = json.loads(path.read_text(encoding="utf-8"))
        rows.append(measurement.row(results))
        lines = Musts.load(measurement.musts).check(results)
        short += [f"{measurement.name}: {line}" for line in lines]
    print("| what | command | must (aim) | measured |\n| --- | --- | --- | --- |")
    print("\n".join(rows))
    for line in short:
        print(f"SHORT  {line}", file=sys.stderr)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
