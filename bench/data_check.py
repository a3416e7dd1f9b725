"""Finds the checker what is wrong? Faults planted in good recordings, and good ones left alone.

python bench/data_check.py [--rounds 1] [--seed 40000] [--json PATH] [--check]

Each round records 20 good episodes and counts what the checker finds in them, which are false
alarms; and as many more as there are faults, each with one, and counts which are found: by the
check that is for it, in the episode that it is in. Scenes are simulated; latencies, jitter, lost
messages, noise and holes in depth are those of real sensors (`testing/recording_realism.py`), and
the simulator's own typing errors are switched off. Thresholds were chosen by their reasons and
tried on seeds below 1,000, three of them again after measuring with seeds from 10,000 and from
30,000 on; what is measured here is others.

12 of the faults are those that the issue lists; what else the checks are for is counted apart.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")

from rich.console import Console
from rich.table import Table

from vla_ros.cli.measurement import conclude
from vla_ros.cli.task_language import task_language
from vla_ros.data.quality import QualityReport, Severity, check_recordings
from vla_ros.sim import noun_phrases
from vla_ros.testing.recording_faults import FAULTS, Fault, record_realistic

CLEAN = 20
#: Seeds of a round's good episodes, and of those with faults, follow one another.
SEEDS_PER_ROUND = 100


def main() -> int:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="each with other scenes")
    parser.add_argument("--seed", type=int, default=40_000, help="of the first scene")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must falls short")
    arguments = parser.parse_args()
    noun_phrases.TYPO = 0.0
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(arguments.rounds):
            seed = arguments.seed + index * SEEDS_PER_ROUND
            rounds.append(measure(Path(folder) / str(index), seed))
            print(f"round {index + 1} of {arguments.rounds}: {_line(rounds[-1])}", file=sys.stderr)
    results = summarize(rounds)
    return conclude(
        "bench/data_check.py",
        results,
        json_path=arguments.json,
        check=arguments.check,
        table=_table(results),
    )


def measure(folder: Path, seed: int) -> dict[str, Any]:
    """Record good episodes and faulty ones, check both, and return what was found."""
    clean, faulty = folder / "clean", folder / "faulty"
    record_realistic(clean, range(seed, seed + CLEAN))
    begin = seed + CLEAN
    folders = record_realistic(faulty, range(begin, begin + len(FAULTS)), FAULTS)
    began = time.perf_counter()
    good = check_recordings([clean], language=task_language())
    took_s = time.perf_counter() - began
    bad = check_recordings([faulty], language=task_language())
    seconds = sum(item.summary.duration_s for item in good.inspections)
    return {
        "false_alarms": [f"{item.episode} {item.check} {item.text}" for item in alarms(good)],
        "found": {
            fault.name: is_found(fault, path.name, bad)
            for fault, path in zip(FAULTS, folders, strict=True)
        },
        "times_real_time": seconds / took_s,
    }


def alarms(report: QualityReport) -> list[Any]:
    """Return what was found that is a warning or an error."""
    return [item for item in report.everything if item.severity >= Severity.WARNING]


def is_found(fault: Fault, episode: str, report: QualityReport) -> bool:
    """Return whether the check for it names the episode; of two equal ones, either."""
    found = [item for item in alarms(report) if item.check == fault.check]
    if fault.check == "duplicate":
        return any(episode == item.episode or episode in item.got for item in found)
    return any(item.episode == episode for item in found)


def summarize(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the worst round, which the musts are about, and all together."""
    listed = [fault.name for fault in FAULTS if fault.listed]
    others = [fault.name for fault in FAULTS if not fault.listed]
    found = {fault.name: sum(each["found"][fault.name] for each in rounds) for fault in FAULTS}
    return {
        "rounds": len(rounds),
        "planted": len(listed),
        "found": min(sum(each["found"][name] for name in listed) for each in rounds),
        "others_planted": len(others),
        "others_found": min(sum(each["found"][name] for name in others) for each in rounds),
        "clean_episodes": CLEAN,
        "false_alarms": max(len(each["false_alarms"]) for each in rounds),
        "all_false_alarms": [text for each in rounds for text in each["false_alarms"]],
        "found_in_rounds": found,
        "times_real_time": min(each["times_real_time"] for each in rounds),
    }


def _line(result: dict[str, Any]) -> str:
    missed = [name for name, found in result["found"].items() if not found]
    return f"missed {missed}, false alarms {result['false_alarms']}"


def _table(results: dict[str, Any]) -> Table:
    rounds = results["rounds"]
    title = (
        f"{results['found']} of {results['planted']} listed faults found in the worst of {rounds} "
        f"rounds, {results['others_found']} of {results['others_planted']} others; "
        f"{results['false_alarms']} false alarms on {results['clean_episodes']} good episodes; "
        f"{results['times_real_time']:.0f} times as fast as recording"
    )
    table = Table("fault", "listed", "check", "found", title=title, title_justify="left")
    for fault in FAULTS:
        count = results["found_in_rounds"][fault.name]
        table.add_row(
            fault.name, "yes" if fault.listed else "", fault.check, f"{count} of {rounds}"
        )
    for text in results["all_false_alarms"]:
        Console(stderr=True).print(f"false alarm: {text}", markup=False)
    return table


if __name__ == "__main__":
    sys.exit(main())
