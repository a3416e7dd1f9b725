"""The graph: which processes, with which parameters, environment and restart policy."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vla_ros.bringup.options import Options
from vla_ros.bringup.restarts import RestartPolicy
from vla_ros.contract import load_contract
from vla_ros.core.conventions import NAMESPACE
from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path

KINDS = ("sim", "robot")
DEFAULT_ROBOT = {"sim": "tabletop_sim", "robot": "so101"}
#: An engine without a bundle, to try the plumbing.
TRIAL_BACKEND = "swaying"
#: Engines, which run bundles; whatever else is a backend knows what it is given as a policy.
ENGINES = ("onnxruntime", "openvino", "remote", "tensorrt", "tensorrt_rtx", "torch")
#: Files by which a directory is known that engines run.
OPENED = ("bundle.json", "signature.yaml")
DEFAULT_POLICY = "models/tabletop-small"
#: Numerical libraries get one thread: the processes share few cores and each does small sums.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

#: Where ROS 2 looks for other nodes; without a setting it multicasts on the network.
DISCOVERY = "ROS_AUTOMATIC_DISCOVERY_RANGE"

Value = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDescription:
    """One process with one node.

    Attributes:
        name: Node name; the process is `python -m vla_ros.nodes.<name>`.
        parameters: ROS parameters.
        environment: Variables that differ from the parent's.
        restart: What happens when it ends by itself.
    """

    name: str
    parameters: Mapping[str, Value]
    environment: Mapping[str, str] = field(default_factory=lambda: ONE_THREAD)
    restart: RestartPolicy = field(default_factory=RestartPolicy)

    @property
    def module(self) -> str:
        """Python module whose `main` runs the node."""
        return f"vla_ros.nodes.{self.name}"

    def command(self) -> list[str]:
        """Return the command line that starts the node."""
        line = [sys.executable, "-m", self.module, "--ros-args"]
        line += ["-r", f"__ns:={NAMESPACE}", "-r", f"__node:={self.name}"]
        for key, value in self.parameters.items():
            line += ["-p", f"{key}:={json.dumps(value)}"]  # JSON is YAML: "1" stays a string
        return line


def default_environment(base: Mapping[str, str]) -> dict[str, str]:
    """Return what every node needs in its environment and `base` does not say already."""
    return {} if DISCOVERY in base else {DISCOVERY: "LOCALHOST"}


def describe(kind: str, options: Options) -> tuple[NodeDescription, ...]:
    """Return the graph `sim` (with the simulator) or `robot` (hardware), in starting order.

    Raises:
        UserError: if there is no such graph or no such policy, or the contract has an error.
    """
    if kind not in KINDS:
        raise UserError(f"graph: expected one of {', '.join(KINDS)}, got '{kind}'")
    robot = _absolute(options.robot) or DEFAULT_ROBOT[kind]
    if kind == "robot" and options.backend == TRIAL_BACKEND:
        raise UserError(f"backend: '{TRIAL_BACKEND}' sways the arm and is for simulation only")
    load_contract(robot)  # an error in it is said once, and not by every node
    shared: dict[str, Value] = {"contract": robot, "use_sim_time": options.use_sim_time}
    bundle = _bundle(options)
    policy: dict[str, Value] = {
        "bundle": bundle,
        "backend": options.backend,
        "fallback": options.fallback,
        "threads": options.threads,
        "cpus": options.cpus,
        "allow_differences": options.allow_differences,
        "adaptive": options.adaptive,
        "scheduling": options.scheduling,
        "sensor_reliability": options.sensor_reliability,
    }
    safety: dict[str, Value] = {"start_stopped": options.start_stopped}
    goals: dict[str, Value] = {"bundle": bundle, "second_goal": options.second_goal}
    scene: dict[str, Value] = {
        "seed": options.seed,
        "split": options.split,
        "skill": options.skill,
        "use_sim_time": False,
    }
    renderer = {**ONE_THREAD, "LP_NUM_THREADS": "1"}
    nodes = (
        NodeDescription(name="gate", parameters={**shared, **safety}),
        NodeDescription(name="policy", parameters={**shared, **policy}),
        NodeDescription(name="planner", parameters={**shared, **goals}),
    )
    if kind == "robot":
        return nodes
    sim = NodeDescription(name="sim", parameters={**shared, **scene}, environment=renderer)
    return (sim, *nodes)


def _absolute(robot: str) -> str:
    """Return a contract's path as an absolute one, its name as it is."""
    if not robot.endswith((".yaml", ".yml")):
        return robot
    return str(Path(robot).expanduser().resolve())


def _bundle(options: Options) -> str:
    if options.backend.partition(":")[0] not in ENGINES:
        return options.policy
    bundle = Path(options.policy).expanduser() if options.policy else resource_path(DEFAULT_POLICY)
    if not (_is_signature(bundle) or any((bundle / name).is_file() for name in OPENED)):
        raise UserError(
            f"policy: {bundle} is no policy bundle (it has no bundle.json); "
            "name a bundle directory, for example models/tabletop-small, or one with a "
            "signature.yaml; a LeRobot checkpoint needs `lerobot` as its backend"
        )
    return str(bundle.resolve())


def _is_signature(policy: Path) -> bool:
    return policy.suffix in {".yaml", ".yml"} and policy.is_file()
