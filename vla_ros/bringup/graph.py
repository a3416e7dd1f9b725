"""The graph: which processes, with which parameters, environment and restart policy."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vla_ros.bringup.options import NOBODY, Options
from vla_ros.bringup.restarts import RestartPolicy
from vla_ros.contract import load_contract
from vla_ros.core.conventions import NAMESPACE
from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path
from vla_ros.teleop.configuration import find_teleop

KINDS = ("sim", "robot", "collect")
DEFAULT_ROBOT = {"sim": "tabletop_sim", "robot": "so101", "collect": "tabletop_sim"}
#: What `collect` is for, where nothing else is chosen.
DEFAULT_TELEOP, DEFAULT_RECORDINGS = "keyboard", "recordings"
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
    """Return a graph, its nodes in starting order.

    `sim` is the policy with the simulator and `robot` the policy for hardware; either has teleop
    and recorder where options ask for them. `collect` has both, and a policy where one is named;
    it has the simulator if the contract is the simulator's.

    Raises:
        UserError: if there is no such graph or no such policy, or the contract has an error.
    """
    if kind not in KINDS:
        raise UserError(f"graph: expected one of {', '.join(KINDS)}, got '{kind}'")
    robot = _absolute(options.robot) or DEFAULT_ROBOT[kind]
    contract = load_contract(robot)  # an error in it is said once, and not by every node
    collects = kind == "collect"
    simulated = contract.name == DEFAULT_ROBOT["sim"] if collects else kind == "sim"
    if not simulated and options.backend == TRIAL_BACKEND:
        raise UserError(f"backend: '{TRIAL_BACKEND}' sways the arm and is for simulation only")
    shared: dict[str, Value] = {"contract": robot, "use_sim_time": options.use_sim_time}
    nodes = [_sim(shared, options)] if simulated else []
    safety: dict[str, Value] = {"start_stopped": options.start_stopped}
    nodes.append(NodeDescription(name="gate", parameters={**shared, **safety}))
    if not collects or has_policy(options):
        nodes += _acting(shared, options)
    device = options.teleop or (DEFAULT_TELEOP if collects else NOBODY)
    if device != NOBODY:
        nodes.append(_teleop(shared, device, options))
    recordings = options.recordings or (DEFAULT_RECORDINGS if collects else "")
    if recordings:
        nodes.append(_recorder(shared, recordings, options))
    return tuple(nodes)


def has_policy(options: Options) -> bool:
    """Return whether a policy is named: a bundle, or a backend that needs none."""
    return bool(options.policy) or options.backend.partition(":")[0] not in ENGINES


def _sim(shared: Mapping[str, Value], options: Options) -> NodeDescription:
    scene: dict[str, Value] = {
        "seed": options.seed,
        "split": options.split,
        "skill": options.skill,
        "use_sim_time": False,
    }
    renderer = {**ONE_THREAD, "LP_NUM_THREADS": "1"}
    return NodeDescription(name="sim", parameters={**shared, **scene}, environment=renderer)


def _acting(shared: Mapping[str, Value], options: Options) -> list[NodeDescription]:
    """Return the policy, and the planner that tells it what to do."""
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
    goals: dict[str, Value] = {"bundle": bundle, "second_goal": options.second_goal}
    return [
        NodeDescription(name="policy", parameters={**shared, **policy}),
        NodeDescription(name="planner", parameters={**shared, **goals}),
    ]


def _teleop(shared: Mapping[str, Value], device: str, options: Options) -> NodeDescription:
    find_teleop(device)  # one that does not exist is refused before anything starts
    operated: dict[str, Value] = {
        "device": _absolute(device),
        "terminal": options.terminal,
        "operator": options.operator,
    }
    return NodeDescription(name="teleop", parameters={**shared, **operated})


def _recorder(shared: Mapping[str, Value], recordings: str, options: Options) -> NodeDescription:
    kept: dict[str, Value] = {
        "folder": str(Path(recordings).expanduser().resolve()),
        "operator_name": options.operator,
    }
    return NodeDescription(name="recorder", parameters={**shared, **kept})


def _absolute(name: str) -> str:
    """Return the path of a contract or a device as an absolute one, its name as it is."""
    if not name.endswith((".yaml", ".yml")):
        return name
    return str(Path(name).expanduser().resolve())


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
