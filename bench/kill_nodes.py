"""kill -9 of policy, planner and sim during motion: does the arm hold, does the graph recover?

python bench/kill_nodes.py [--policy BUNDLE | --backend BACKEND] [--json PATH] [--check]
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))

from rclpy.node import Node
from vla_ros_interfaces.srv import ResetScene

from vla_ros.cli.measurement import conclude
from vla_ros.ros.transport import use_shipped_profile
from vla_ros.testing.kill_recovery import kill_during_motion
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import GraphProcess
from vla_ros.testing.spinning import Spinner

SEEDS = count(1_000_000_000)
NODES = ("policy", "planner", "sim")


def main() -> int:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", default="", help="bundle directory; the shipped one if empty")
    parser.add_argument("--backend", default="onnxruntime", help="engine that runs the bundle")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must falls short")
    arguments = parser.parse_args()
    use_shipped_profile()
    results: dict[str, Any] = {}
    graph = GraphProcess("sim", "--backend", arguments.backend, "--policy", arguments.policy)
    try:
        graph.wait_ready()
        with Spinner("kill_nodes") as spinner:
            for name in NODES:
                moving = _lay_scene(spinner.node)
                results[name] = asdict(
                    kill_during_motion(
                        graph, spinner.node, name, moving, lambda: _lay_scene(spinner.node)
                    )
                )
    finally:
        graph.end()
    name = "bench/kill_nodes.py"
    return conclude(name, results, json_path=arguments.json, check=arguments.check)


def _lay_scene(node: Node) -> str:
    """Lay the table anew, with the next unseen scene, and return its sentence."""
    scenes = Listener(node)
    request = ResetScene.Request(suite="core", split="seeds", skill="lift", seed=next(SEEDS))
    for timeout_s in (3.0, 3.0, 15.0):
        # DDS believes in a killed server until its lease ends: a request to it is lost
        with suppress(AssertionError):
            answer = scenes.call(ResetScene, "/vla/sim/reset", request, timeout_s)
            break
    else:
        raise RuntimeError("/vla/sim/reset answers none of three requests")
    if not answer.success:
        raise RuntimeError(answer.message)
    return str(answer.instruction)


if __name__ == "__main__":
    sys.exit(main())
