"""The graph: which processes, with which parameters, environment and restart policy."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vla_ros.contract import load_contract
from vla_ros.core.conventions import NAMESPACE
from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path

KINDS = ("sim", "robot")
DEFAULT_ROBOT = {"sim": "tabletop_sim", "robot": "so101"}
#: An engine without a bundle, to try the plumbing.
TRIAL_BACKEND = "swaying"
DEFAULT_POLICY = "models/tabletop-small"
#: Numerical libraries get one thread: the processes share few cores and each does small sums.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

Value = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user may choose about a graph; launch arguments are made from these fields."""

    robot: str = field(default="", metadata={"help": "robot contract: a name or a YAML file"})
    policy: str = field(default="", metadata={"help": "directory of the policy bundle"})
    backend: str = field(default="onnxruntime", metadata={"help": "engine that runs the bundle"})
    threads: int = field(default=1, metadata={"help": "threads of one inference"})
    seed: int = field(default=0, metadata={"help": "seed of the first simulated scene"})
    split: str = field(default="seeds", metadata={"help": "split of the first simulated scene"})
    skill: str = field(default="", metadata={"help": "skill of the first simulated scene"})
    sensor_reliability: str = field(
        default="best_effort", metadata={"help": "of the sensor topics: best_effort or reliable"}
    )
    allow_differences: bool = field(
        default=False, metadata={"help": "run a bundle that was made for another contract"}
    )
    use_sim_time: bool = field(
        default=False, metadata={"help": "follow /clock and not the wall clock"}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """What happens when a node ends by itself.

    A node that has run for `forgive_s` [s] starts with a clean record. The n-th restart in a row
    waits `delay_s` x 2^(n-1) [s], and after `limit` of them the graph gives up.
    """

    delay_s: float = 0.2
    limit: int = 6
    forgive_s: float = 20.0


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


def describe(kind: str, options: Options) -> tuple[NodeDescription, ...]:
    """Return the graph `sim` (with the simulator) or `robot` (hardware), in starting order.

    Raises:
        UserError: if there is no such graph or no such policy, or the contract has an error.
    """
    if kind not in KINDS:
        raise UserError(f"graph: expected one of {', '.join(KINDS)}, got '{kind}'")
    robot = options.robot or DEFAULT_ROBOT[kind]
    if kind == "robot" and options.backend == TRIAL_BACKEND:
        raise UserError(f"backend: '{TRIAL_BACKEND}' sways the arm and is for simulation only")
    load_contract(robot)  # an error in it is said once, and not by every node
    shared: dict[str, Value] = {"contract": robot, "use_sim_time": options.use_sim_time}
    bundle = _bundle(options)
    policy: dict[str, Value] = {
        "bundle": bundle,
        "backend": options.backend,
        "threads": options.threads,
        "allow_differences": options.allow_differences,
        "sensor_reliability": options.sensor_reliability,
    }
    scene: dict[str, Value] = {
        "seed": options.seed,
        "split": options.split,
        "skill": options.skill,
        "use_sim_time": False,
    }
    renderer = {**ONE_THREAD, "LP_NUM_THREADS": "1"}
    nodes = (
        NodeDescription(name="gate", parameters=shared),
        NodeDescription(name="policy", parameters={**shared, **policy}),
        NodeDescription(name="planner", parameters={**shared, "bundle": bundle}),
    )
    if kind == "robot":
        return nodes
    sim = NodeDescription(name="sim", parameters={**shared, **scene}, environment=renderer)
    return (sim, *nodes)


def _bundle(options: Options) -> str:
    if options.backend != "onnxruntime":
        return options.policy
    bundle = Path(options.policy) if options.policy else resource_path(DEFAULT_POLICY)
    if not (bundle / "bundle.json").is_file():
        raise UserError(
            f"policy: {bundle} is no policy bundle (it has no bundle.json); "
            "name a bundle directory, for example models/tabletop-small"
        )
    return str(bundle.resolve())
