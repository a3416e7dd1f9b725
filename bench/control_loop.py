"""Rate and jitter of the gate, rate of the policy, and latency, while the whole graph runs.

python bench/control_loop.py [--seconds 30] [--policy BUNDLE | --backend swaying] [--json PATH]
[--check]

Brings up the simulation graph on this machine and has one instruction after another done until
the time is over. Rates are counted while a goal runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))

import numpy as np
from vla_ros_interfaces.msg import ActionChunk, GateStatus
from vla_ros_interfaces.srv import ResetScene

from vla_ros.cli.measurement import conclude
from vla_ros.ros.qos import command_qos, latched_qos
from vla_ros.ros.stamps import to_ns
from vla_ros.ros.transport import use_shipped_profile
from vla_ros.testing.goal import SentGoal
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import GraphProcess
from vla_ros.testing.spinning import Spinner
from vla_ros.testing.waiting import wait_for

STATUS, CHUNKS = "/vla/gate/status", "/vla/policy/chunk"
GOAL_TIMEOUT_S = 15.0


def main() -> int:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="of goals")
    parser.add_argument("--policy", default="", help="bundle directory; the shipped one if empty")
    parser.add_argument("--backend", default="onnxruntime", help="engine that runs the bundle")
    parser.add_argument("--seed", type=int, default=1_000_000_000, help="of the first scene")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must falls short")
    arguments = parser.parse_args()
    use_shipped_profile()
    graph = GraphProcess("sim", "--backend", arguments.backend, "--policy", arguments.policy)
    try:
        graph.wait_ready()
        with Spinner("control_loop") as spinner:
            results = measure(Listener(spinner.node), arguments.seconds, arguments.seed)
    finally:
        graph.end()
    name = "bench/control_loop.py"
    return conclude(name, results, json_path=arguments.json, check=arguments.check)


def measure(listener: Listener, seconds: float, seed: int) -> dict[str, Any]:
    """Run goals for `seconds` [s] and return what the gate and the policy did meanwhile."""
    listener.listen(GateStatus, STATUS, latched_qos())
    listener.listen(ActionChunk, CHUNKS, command_qos())
    wait_for(lambda: listener.last(STATUS), "the gate")
    outcomes: list[str] = []
    policy_rates: list[float] = []
    jitter: list[float] = []
    spent_s = 0.0
    while spent_s < seconds:
        request = ResetScene.Request(suite="core", split="seeds", seed=seed + len(outcomes))
        sentence = listener.call(ResetScene, "/vla/sim/reset", request).instruction
        first, began = len(listener.heard[CHUNKS]), time.monotonic()
        outcome, _ = SentGoal(listener.node, sentence, GOAL_TIMEOUT_S).wait()
        spent_s += time.monotonic() - began
        outcomes.append(outcome.name)
        policy_rates.append(rate([c for c in listener.heard[CHUNKS][first:] if c.horizon]))
        jitter.append(listener.last(STATUS).jitter_p99_ms)
    control = listener.finding("gate: control")
    values = {item.key: float(item.value) for item in control.values} if control else {}
    return {
        "seconds": spent_s,
        "goals": len(outcomes),
        "outcomes": {name: outcomes.count(name) for name in sorted(set(outcomes))},
        "gate_rate_hz": gate_rate(listener.heard[STATUS]),
        "gate_jitter_p50_ms": values["jitter_p50_ms"],
        "gate_jitter_p99_ms": max(jitter),  # of the worst ten seconds
        "gate_jitter_max_of_last_10_s_ms": values["jitter_max_ms"],
        "policy_rate_hz": float(np.mean(policy_rates)),
        "policy_inference_p50_ms": float(
            np.median([c.inference_ms for c in listener.heard[CHUNKS] if c.horizon])
        ),
        "sensor_to_command_p50_ms": values["sensor_to_command_p50_ms"],
        "sensor_to_command_p99_ms": values["sensor_to_command_p99_ms"],
    }


def rate(chunks: list[ActionChunk]) -> float:
    """Return how many chunks per second there were, by their stamps."""
    if len(chunks) < 2:
        return 0.0
    return (len(chunks) - 1) / (1e-9 * (stamp_ns(chunks[-1]) - stamp_ns(chunks[0])))


def gate_rate(statuses: list[GateStatus]) -> float:
    """Return how many ticks per second there were, by the status messages."""
    first, last = statuses[0], statuses[-1]
    return float((last.ticks - first.ticks) / (1e-9 * (stamp_ns(last) - stamp_ns(first))))


def stamp_ns(message: Any) -> int:
    """Return the stamp of a message's header in [ns]."""
    return to_ns(message.header.stamp)


if __name__ == "__main__":
    sys.exit(main())
