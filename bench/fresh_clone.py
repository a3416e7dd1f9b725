"""How long `make demo` (twice) or `make test` takes in a clean clone with no .venv.

python bench/fresh_clone.py demo|test [--json PATH] [--check]

What is committed is what is measured. The clone is made in a temporary folder and removed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from vla_ros.cli.measurement import conclude

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> int:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=("demo", "test"), help="what to make")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must falls short")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vla_ros_clone_") as folder:
        clone = Path(folder) / "vla_ros"
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
        results: dict[str, Any] = {"first_s": _make(arguments.target, clone)}
        if arguments.target == "demo":
            results["second_s"] = _make(arguments.target, clone)
    name = f"make {arguments.target}"
    return conclude(name, results, json_path=arguments.json, check=arguments.check)


def _make(target: str, clone: Path) -> float:
    """Make a target as a new user would; return how long it took [s].

    Raises:
        CalledProcessError: if it fails: then its time means nothing.
    """
    private = ("VIRTUAL_ENV", "PYTHONPATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE", "LD_LIBRARY_PATH")
    variables = {name: value for name, value in os.environ.items() if name not in private}
    began = time.monotonic()
    subprocess.run(["make", target], cwd=clone, env=variables, check=True)
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
