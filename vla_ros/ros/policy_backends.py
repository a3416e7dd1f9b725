"""Engines that run a policy bundle, by name: our own and those of installed packages."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, cast

from vla_ros.contract import ContractDifference, RobotContract
from vla_ros.core.errors import UserError
from vla_ros.core.protocols import Policy

#: Makes a policy from a bundle directory, the robot's contract and a number of threads.
Backend = Callable[[str, RobotContract, int], Policy]

#: Opens a bundle with a backend for another robot; returns the policy and how the robots differ.
Fitting = Callable[[Backend, str, RobotContract, int], tuple[Policy, list[ContractDifference]]]

#: Entry-point group under which other packages offer engines.
GROUP = "vla_ros.engines"
FITTING = "vla_ros.engine.fitted_policy:open_fitted"
OWN = {
    "onnxruntime": "vla_ros.engine.onnx_policy:open_policy",
    "swaying": "vla_ros.testing.swaying_policy:open_policy",
}


def load_backend(name: str) -> Backend:
    """Return the engine called `name`; nothing of the others is imported.

    Raises:
        UserError: if there is none, listing those that exist, or if it cannot be imported.
    """
    offered = {point.name: point.value for point in entry_points(group=GROUP)} | OWN
    if name not in offered:
        raise UserError(f"backend: expected one of {', '.join(sorted(offered))}, got '{name}'")
    return cast(Backend, _load(offered[name], f"backend '{name}'"))


def load_fitting() -> Fitting:
    """Return what opens a bundle for a robot that it was not made for."""
    return cast(Fitting, _load(FITTING, "allow_differences"))


def _load(target: str, what: str) -> Any:
    """Import `module:attribute` for `what` when it is needed and not before."""
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise UserError(f"{what} cannot be imported: {error}") from error
