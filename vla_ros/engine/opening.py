"""Opens whatever is named as a policy: a bundle, or what another package knows how to open."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

from vla_ros.contract import ContractDifference, RobotContract
from vla_ros.core.errors import UserError
from vla_ros.core.protocols import Policy
from vla_ros.engine.choice import EngineChoice, backends
from vla_ros.engine.fitted_policy import open_fitted
from vla_ros.engine.signature_reading import is_signature
from vla_ros.policy.bundle import DESCRIPTION

#: Makes a policy of what is named, for a robot; which backends run it is its last argument.
Opener = Callable[[str, RobotContract, EngineChoice], Policy]

#: Entry-point group under which other packages offer whole policies.
GROUP = "vla_ros.policies"
OWN = {
    "bundle": "vla_ros.engine.bundle_policy:open_policy",
    "lerobot": "vla_ros.engine.lerobot_policy:open_policy",
    "openpi": "vla_ros.engine.openpi_policy:open_policy",
    "signature": "vla_ros.engine.signature_policy:open_policy",
    "swaying": "vla_ros.testing.swaying_policy:open_policy",
}
#: Policies that are made of graphs, which the engines run.
GRAPHS = frozenset({"bundle", "signature"})
#: File by which a LeRobot checkpoint is known.
LEROBOT_CONFIG = "config.json"


def open_policy(
    source: str,
    contract: RobotContract,
    backend: str = "onnxruntime",
    fallback: str = "",
    threads: int = 1,
    cpus: str = "",
    allow_differences: bool = False,
) -> tuple[Policy, list[ContractDifference]]:
    """Return a policy for a robot, and how the robot differs from the one that it was made for.

    Args:
        source: Directory of a bundle, of graphs with a declared signature, or of a LeRobot
            checkpoint; for a policy that is not made of graphs, what its opener takes.
        contract: Of the robot that it will run on.
        backend: Engine that runs its graphs, `name` or `name:argument`; or a policy that is not
            made of graphs, by the name that its package offers it under.
        fallback: Engines that take over where the backend fails, with commas between.
        threads: CPU threads that one inference may use.
        cpus: CPUs that it is kept on, numbered from 0, with commas between; "": any.
        allow_differences: Whether a bundle of another robot is fitted to this one.

    Raises:
        UserError: if there is no such backend, or it cannot run this; says why.
    """
    choice = EngineChoice.parse(backend, fallback, threads, cpus)
    name, _, _ = backend.partition(":")
    if name not in GRAPHS and name in _policies():
        return _load(name)(source, contract, choice), []
    if name not in backends():
        known = ", ".join(sorted({*backends(), *_policies()} - GRAPHS))
        raise UserError(f"backend: expected one of {known}, got '{name}'")
    kind = kind_of(source)
    if kind == "lerobot":
        raise UserError(
            f"{source}: is a LeRobot checkpoint, which '{name}' cannot run as it is; give "
            "`lerobot` as the backend to run it through LeRobot, or make graphs of it with "
            "`vla_ros export`"
        )
    opener = _load(kind)
    if kind == "signature":
        return opener(source, contract, choice), []
    if allow_differences and source:
        return open_fitted(opener, source, contract, choice)
    return opener(source, contract, choice), []


def kind_of(source: str) -> str:
    """Return what a source is, by the files in it: `signature`, `lerobot` or `bundle`."""
    if is_signature(source):
        return "signature"
    folder = Path(source)
    if source and (folder / LEROBOT_CONFIG).is_file() and not (folder / DESCRIPTION).is_file():
        return "lerobot"
    return "bundle"


def _policies() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=GROUP)} | OWN


def _load(name: str) -> Opener:
    """Import what opens a kind of policy when it is needed and not before."""
    module, _, attribute = _policies()[name].partition(":")
    try:
        return cast(Opener, getattr(importlib.import_module(module), attribute))
    except ImportError as error:
        raise UserError(f"backend '{name}' cannot be imported: {error}") from error
