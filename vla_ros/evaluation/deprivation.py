"""A policy that lacks some of its sensors, to measure what they are worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vla_ros.contract.loading import load_contract
from vla_ros.contract.specs import RobotContract
from vla_ros.core.protocols import Policy
from vla_ros.core.types import ActionChunk, Observation
from vla_ros.engine.adaptive import AdaptivePolicy
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.engine.choice import EngineChoice

#: What can be taken away, and how.
LOSABLE: dict[str, Callable[[Observation], Observation]] = {
    "depth": lambda seen: replace(seen, depths={}),
    "imu": lambda seen: replace(seen, imu=None),
    "wrist": lambda seen: _without_camera(seen, "wrist"),
    "front": lambda seen: _without_camera(seen, "front"),
}


class DeprivedPolicy:
    """Hides what was lost from a policy; it is masked, as on a robot that lacks the sensor."""

    def __init__(self, policy: Policy, lost: tuple[str, ...]) -> None:
        """Hide `lost`, names of `LOSABLE`, from `policy`."""
        self._policy = policy
        self._hide = tuple(LOSABLE[name] for name in lost)

    @property
    def inner(self) -> Policy:
        """The policy that they are hidden from."""
        return self._policy

    @property
    def name(self) -> str:
        """Name of the policy."""
        return self._policy.name

    @property
    def bundle_sha256(self) -> str:
        """Hash of the policy."""
        return self._policy.bundle_sha256

    def start(self, instruction: str) -> None:
        """Hand the instruction on."""
        self._policy.start(instruction)

    def infer(self, observation: Observation) -> ActionChunk:
        """Return the policy's chunk for what is left of the observation."""
        for hide in self._hide:
            observation = hide(observation)
        return self._policy.infer(observation)


def open_policy(
    bundle: Path,
    lost: tuple[str, ...] = (),
    *,
    adaptive: bool = False,
    backend: str = "onnxruntime",
) -> Policy:
    """Open a bundle for the simulated robot, or for one that lacks some of its sensors.

    Args:
        bundle: Directory of the policy.
        lost: Names of `LOSABLE` that the robot lacks.
        adaptive: Whether to infer only when something has happened.
        backend: Engine that runs its graphs, `name` or `name:argument`.

    Raises:
        BundleError: if the bundle cannot be used.
        EngineError: if the engine cannot run it here.
        ContractError: if it was trained for another robot.
    """
    contract = load_contract("tabletop_sim")
    robot = _nothing_required(contract) if lost else contract
    policy: Policy = BundlePolicy(bundle, robot, EngineChoice.parse(backend))
    if adaptive:
        policy = AdaptivePolicy(policy)
    return DeprivedPolicy(policy, lost) if lost else policy


def adaptive_of(policy: Policy) -> AdaptivePolicy | None:
    """Return what decides when a policy of `open_policy` infers; None if it always does."""
    inner = policy.inner if isinstance(policy, DeprivedPolicy) else policy
    return inner if isinstance(inner, AdaptivePolicy) else None


def _nothing_required(contract: RobotContract) -> RobotContract:
    """Return the contract of a robot that may lack any sensor but its joint states."""
    optional = tuple(
        spec if spec.feature == "observation.state" else replace(spec, required=False)
        for spec in contract.observations
    )
    return replace(contract, observations=optional)


def _without_camera(seen: Observation, camera: str) -> Observation:
    return replace(
        seen,
        images={name: image for name, image in seen.images.items() if name != camera},
        depths={name: depth for name, depth in seen.depths.items() if name != camera},
    )
