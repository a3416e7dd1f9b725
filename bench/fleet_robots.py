"""The robots of bench/fleet.py: in a process of their own, as clients of a server.

python bench/fleet_robots.py {record|drive} --bundle PATH --robots N ...

`record` writes what a policy asks. `drive` runs whole policies, with the engine `remote`, and the
gate at its control rate with an arm behind it that follows.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros.contract import load_contract
from vla_ros.core.errors import ChunkRejected, InferenceFailed
from vla_ros.core.types import Observation
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.engine.choice import EngineChoice
from vla_ros.safety import Gate, GateState, make_checker, make_gate
from vla_ros.sim.environment import Environment
from vla_ros.sim.scenes import sample_scene

#: Policies of driven robots infer at this rate [Hz].
DRIVEN_RATE_HZ = 4.0
#: A joint that moves by less than this in a period stands still [rad].
STILL_RAD = 1e-6


def main() -> int:
    """Run the robots and print what they saw, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("drive", "record"))
    parser.add_argument("--address", default="", help="of the server: remote:ws://host:port")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--inputs", type=Path, help="where to write what is recorded")
    parser.add_argument("--robots", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    if arguments.what == "record":
        record(arguments.bundle, arguments.inputs, arguments.robots)
        return 0
    print(json.dumps(drive(arguments)), flush=True)
    return 0


def record(bundle: Path, path: Path, robots: int) -> None:
    """Write what a policy's graph is given in the first instant of simulated scenes."""
    policy, environment = BundlePolicy(bundle), Environment()
    recorded: dict[str, NDArray[Any]] = {}
    for seed in range(robots):
        scene = sample_scene(seed=seed)
        policy.start(scene.instruction.text)
        policy.infer(environment.reset(scene).observation)
        recorded |= {f"{seed}/{name}": value for name, value in policy.inputs.items()}
    np.savez(path, allow_pickle=False, **recorded)


class Driven:
    """One robot: a policy on a server, the real gate, and an arm that follows perfectly."""

    def __init__(self, index: int, bundle: Path, address: str) -> None:
        """Open the policy."""
        scene = sample_scene(seed=index)
        self._contract = load_contract("tabletop_sim")
        self._observation: Observation = Environment().reset(scene).observation
        self._policy = BundlePolicy(bundle, choice=EngineChoice(backends=(address,)))
        self._policy.start(scene.instruction.text)
        self._gate: Gate = make_gate(self._contract)
        self._checker = make_checker(self._contract)
        self._lock = threading.Lock()
        self._position = np.array(self._contract.home)
        self._end_ns = 0
        #: When the gate took a chunk [ns].
        self.chunks_ns: list[int] = []
        self.failures: list[str] = []
        #: Of every tick: time [ns], gate's state, whether the arm moves, end of the chunk [ns].
        self.ticks: list[tuple[int, int, bool, int]] = []
        self.violations = 0

    def run(self, index: int, end_ns: int) -> None:
        """Infer at the policy's rate until `end_ns`, beside the gate."""
        gate = threading.Thread(target=self._run_gate, args=(end_ns,))
        gate.start()
        due = time.monotonic_ns() + int(0.381966e9 * index % 1e9 / DRIVEN_RATE_HZ)
        while due < end_ns:
            threading.Event().wait(max(0.0, 1e-9 * (due - time.monotonic_ns())))
            self._infer()
            due = max(due + int(1e9 / DRIVEN_RATE_HZ), time.monotonic_ns())
        gate.join()
        self._policy.close()

    def _infer(self) -> None:
        with self._lock:
            state = self._position.astype(np.float32)
        stamp_ns = time.monotonic_ns()
        try:
            chunk = self._policy.infer(
                replace(self._observation, stamp_ns=stamp_ns, state=state, command=state)
            )
        except InferenceFailed as error:
            self.failures.append(error.reason)
            return
        now_ns = time.monotonic_ns()
        with self._lock:
            try:
                self._gate.accept(chunk, now_ns)
            except ChunkRejected as error:
                self.failures.append(str(error))
            else:
                self._end_ns = chunk.end_ns
                self.chunks_ns.append(now_ns)

    def _run_gate(self, end_ns: int) -> None:
        period_ns = round(1e9 * self._contract.control_period_s)
        due = time.monotonic_ns()
        while due < end_ns:
            due += period_ns
            threading.Event().wait(max(0.0, 1e-9 * (due - time.monotonic_ns())))
            with self._lock:
                command = self._gate.tick(due, self._position)
                assert command.positions is not None
                moves = float(np.abs(command.positions - self._position).max()) > STILL_RAD
                self._position = command.positions
                self.violations += len(self._checker.observe(command.positions))
                self.ticks.append((due, int(command.state), moves, self._end_ns))


def drive(arguments: argparse.Namespace) -> dict[str, Any]:
    """Drive robots; a line `kill` on stdin is the moment from which on they are judged."""
    robots = [Driven(n, arguments.bundle, arguments.address) for n in range(arguments.robots)]
    print("ready", flush=True)
    end_ns = time.monotonic_ns() + round(1e9 * arguments.seconds)
    threads = [
        threading.Thread(target=robot.run, args=(n, end_ns)) for n, robot in enumerate(robots)
    ]
    for thread in threads:
        thread.start()
    killed_ns = int(sys.stdin.readline() or 0)
    for thread in threads:
        thread.join()
    return judge(robots, killed_ns)


def judge(robots: list[Driven], killed_ns: int) -> dict[str, Any]:
    """Return what the robots did from the kill on; the clock is this machine's monotonic one."""
    outages_ms, moving, ticks, holding = [], 0, 0, 0
    for robot in robots:
        before = [each for each in robot.chunks_ns if each <= killed_ns]
        after = [each for each in robot.chunks_ns if each > killed_ns + 50_000_000]
        outages_ms.append(1e-6 * (after[0] - killed_ns) if after and before else float("inf"))
        for now_ns, state, moves, end_ns in robot.ticks:
            if now_ns <= killed_ns:
                continue
            ticks += 1
            holding += state == int(GateState.HOLD)
            moving += int(moves and now_ns > end_ns)
    return {
        "robots": len(robots),
        "ticks_after": ticks,
        "moving_without_chunk": moving,
        "moved_before": sum(
            moves for robot in robots for now, _, moves, _ in robot.ticks if now <= killed_ns
        ),
        "holding_ticks": holding,
        "violations": sum(robot.violations for robot in robots),
        "outage_median_ms": float(np.median(outages_ms)),
        "outage_max_ms": float(np.max(outages_ms)),
        "failed_inferences": sum(len(robot.failures) for robot in robots),
        "reasons": sorted({reason[-120:] for robot in robots for reason in robot.failures})[:8],
        "all_back": bool(np.isfinite(outages_ms).all()),
    }


if __name__ == "__main__":
    sys.exit(main())
