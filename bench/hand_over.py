"""An operator takes the arm from a policy and gives it back, at random moments, 100 times.

python bench/hand_over.py [--device gamepad] [--robot tabletop_sim] [--json PATH] [--check]

Gate, arbitration and operator are those that run; time is simulated, the policy is scripted and
goes on with its own plan. Every command is checked against every limit by finite differences.
Beside that the operator falls silent in the middle of a motion, as often.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.cli.measurement import conclude
from vla_ros.contract import load_contract
from vla_ros.teleop.configuration import load_teleop
from vla_ros.testing.hand_over import HandOver, HandOverReport

TIMES = 100


def main() -> int:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="gamepad", help="name or file of the device")
    parser.add_argument("--robot", default="tabletop_sim", help="name or file of the contract")
    parser.add_argument("--times", type=int, default=TIMES, help="how often")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and motions")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must falls short")
    arguments = parser.parse_args()
    contract = load_contract(arguments.robot)
    settings = load_teleop(arguments.device, contract).settings
    arm = HandOver(contract, settings, arguments.seed)
    for _ in range(arguments.times):
        arm.hand_over()
    for _ in range(arguments.times):
        arm.fall_silent()
    results = {"robot": contract.name, "device": arguments.device, **summarize(arm.report)}
    return conclude("bench/hand_over.py", results, json_path=arguments.json, check=arguments.check)


def summarize(report: HandOverReport) -> dict[str, Any]:
    """Return the results; times in [ms]."""
    return {
        "takeovers": report.takeovers,
        "releases": report.releases,
        "commands": report.commands,
        "violations": sum(report.violations.values()),
        "velocity_violations": report.violations.get("velocity", 0),
        "jerk_violations": report.violations.get("jerk", 0),
        "velocity_share": report.velocity_share,
        "jerk_share": report.jerk_share,
        "takeover_ms": _spread(report.takeover_s),
        "release_ms": _spread(report.release_s),
        "releases_held_by_workspace": report.held_releases,
        "silences": len(report.silence_s),
        "silence_to_rest_ms": _spread(report.silence_s),
    }


def _spread(times_s: list[float]) -> dict[str, float]:
    times_ms = 1e3 * np.array(times_s)
    return {"p50": float(np.median(times_ms)), "max": float(times_ms.max())}


if __name__ == "__main__":
    sys.exit(main())
