"""Time of one tick of the gate, and a hostile stream of chunks through it.

python bench/gate_tick.py [--json PATH] [--check]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.cli.measurement import conclude
from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import ChunkRejected
from vla_ros.core.types import FloatArray
from vla_ros.testing.gate_rig import GateRig
from vla_ros.testing.gate_rig import Path as Motion

TICKS = 3000
CHUNK_EVERY = 4  # ticks: 25 Hz of chunks


def main() -> int:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must falls short")
    arguments = parser.parse_args()
    contract = load_contract("tabletop_sim")
    home = np.array(contract.home)
    anywhere = replace(contract, action=replace(contract.action, workspace=None))
    results: dict[str, Any] = {
        "hold": time_ticks(contract, None),
        "execute": time_ticks(contract, swing(home, 0.3)),
        "execute_without_workspace": time_ticks(anywhere, swing(home, 0.3)),
        "execute_near_the_table": time_ticks(contract, swing(low_pose(contract), 0.1)),
        **hostile_stream(contract),
    }
    budget_us = 1e6 * contract.control_period_s
    results["share_of_period"] = results["execute"]["cpu_us"] / budget_us
    return conclude("bench/gate_tick.py", results, json_path=arguments.json, check=arguments.check)


def swing(centre: FloatArray, amplitude: float) -> Motion:
    """Return a motion of every joint about `centre` [rad], with `amplitude` [rad]."""
    phases = np.arange(len(centre))
    return lambda t: np.asarray(centre + amplitude * np.sin(2.0 * t) * np.cos(phases))


def low_pose(contract: RobotContract) -> FloatArray:
    """Return a pose whose tip is 2 cm above the workspace's floor."""
    chain, box, pose = contract.chain(), contract.workspace, np.array(contract.home)
    assert box is not None
    while chain.forward(pose[: len(chain.names)])[2, 3] > box.lower[2] + 0.02:
        pose[1] += 0.005
    return pose


def time_ticks(contract: RobotContract, motion: Motion | None) -> dict[str, float]:
    """Return the time of a tick in [us] along a motion, or holding.

    `cpu_us` is the mean without what other processes took; the others are by the wall clock.
    """
    rig = GateRig(contract)
    rig.position = rig.position if motion is None else motion(0.0)
    rig.tick()
    tick, times, cpu_ns = rig.gate.tick, np.empty(TICKS), 0
    for k in range(TICKS):
        if motion is not None and k % CHUNK_EVERY == 0:
            rig.accept(rig.chunk(motion, begin_s=k * 0.01))
        now_ns = rig.now_ns = rig.now_ns + rig.period_ns
        cpu_started, started = time.thread_time_ns(), time.perf_counter_ns()
        command = tick(now_ns, rig.position)
        times[k] = (time.perf_counter_ns() - started) * 1e-3
        cpu_ns += time.thread_time_ns() - cpu_started
        assert command.positions is not None
        rig.position = command.positions
    return {
        "cpu_us": cpu_ns * 1e-3 / TICKS,
        "median_us": float(np.median(times)),
        "p99_us": float(np.percentile(times, 99)),
        "limited": rig.gate.limited_ticks / TICKS,
    }


def hostile_stream(contract: RobotContract) -> dict[str, int]:
    """Return how many commands of a stream of random chunks broke a limit."""
    rng, rig = np.random.default_rng(0), GateRig(contract)
    rig.tick()
    for k in range(10 * TICKS):
        if k % CHUNK_EVERY == 0:
            walk = np.cumsum(rng.normal(0.0, rng.choice([0.05, 0.5]), (12, 6)), axis=0)
            chunk = replace(rig.chunk(rig.position), positions=rig.position + walk)
            offer(rig.accept, chunk)
        rig.now_ns += rig.period_ns
        command = rig.gate.tick(rig.now_ns, rig.position)
        assert command.positions is not None
        rig.position = command.positions
        rig.checker.observe(rig.position)
    return {
        "commands": rig.checker.commands,
        "violations": rig.checker.violations,
        "rejected_chunks": rig.gate.rejected_chunks,
    }


def offer(accept: Callable[[Any], None], chunk: object) -> None:
    """Hand over a chunk that may be rejected."""
    try:
        accept(chunk)
    except ChunkRejected:
        return


if __name__ == "__main__":
    sys.exit(main())
