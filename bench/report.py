"""Every measurement of the README, and its table.

python bench/report.py FOLDER

Runs what FOLDER has no result of, one after the other (about four hours on 2 cores, half of them
for the fusions, and an idle machine, please), keeps each result as FOLDER/NAME.json, and prints
the table as Markdown. Run it again to go on where it was stopped; remove a file to measure it
anew. Exit status 1: a must falls short.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from measurements import MEASUREMENTS

from vla_ros.cli.musts import Musts


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
