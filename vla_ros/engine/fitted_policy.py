"""A policy on another robot than the one it was made for: its images are cut and scaled to fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from vla_ros.contract import ContractDifference, RobotContract, require_compatible
from vla_ros.core.demonstration import Demonstration
from vla_ros.core.engine_report import EngineReport
from vla_ros.core.errors import UserError
from vla_ros.core.protocols import (
    Attentive,
    Closable,
    Continuing,
    Noticing,
    Policy,
    Promptable,
    Reporting,
)
from vla_ros.core.types import ActionChunk, ChunkPrefix, Observation, UInt8Array
from vla_ros.engine.choice import EngineChoice
from vla_ros.observation.array_pool import ArrayPool
from vla_ros.observation.images import fit_depth, fit_rgb
from vla_ros.policy.bundle import Bundle

#: Width and height [px] that a policy takes, by camera.
Sizes = Mapping[str, tuple[int, int]]


class FittedPolicy:
    """Hands observations on to a policy, each image in the size that the policy takes.

    Fitted images are in arrays that are used again, once neither the policy nor anybody whom it
    gave them to holds them.
    """

    def __init__(self, inner: Policy, sizes: Sizes) -> None:
        """Fit the images of the cameras in `sizes` for `inner`."""
        self._inner = inner
        self._sizes = dict(sizes)
        self._pool = ArrayPool()

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self._inner.name

    @property
    def bundle_sha256(self) -> str:
        """Hash of the bundle."""
        return self._inner.bundle_sha256

    def start(self, instruction: str) -> None:
        """Hand on a new instruction."""
        self._inner.start(instruction)

    def show(self, demonstrations: Sequence[Demonstration]) -> None:
        """Hand on demonstrations made with the robot's own image sizes.

        Raises:
            UserError: if the policy takes none, or cannot use these.
        """
        if not isinstance(self._inner, Promptable):
            raise UserError(f"policy '{self.name}' cannot be shown anything; it only reads words")
        self._inner.show(
            [replace(each, observation=self._fit(each.observation)) for each in demonstrations]
        )

    def report_engines(self) -> tuple[EngineReport, ...]:
        """Return what runs the policy; nothing of a policy that does not say."""
        return self._inner.report_engines() if isinstance(self._inner, Reporting) else ()

    def close(self) -> None:
        """Free what the policy holds."""
        if isinstance(self._inner, Closable):
            self._inner.close()

    def infer(self, observation: Observation) -> ActionChunk:
        """Return the chunk for one observation of the robot's own image sizes."""
        return self._inner.infer(self._fit(observation))

    @property
    def prefix_parts(self) -> tuple[str, ...]:
        """What of a prefix the policy heeds; nothing of one that goes on from nothing."""
        return self._inner.prefix_parts if isinstance(self._inner, Continuing) else ()

    def go_on(self, observation: Observation, prefix: ChunkPrefix) -> ActionChunk:
        """Return the chunk that begins like the prefix; see `Continuing`."""
        assert isinstance(self._inner, Continuing)  # called only with what `prefix_parts` names
        return self._inner.go_on(self._fit(observation), prefix)

    def notice(self, observation: Observation) -> None:
        """Hand on an observation for which no chunk is wanted, if the policy takes note."""
        if isinstance(self._inner, Noticing):
            self._inner.notice(self._fit(observation))

    def draw_attention(self, observation: Observation, camera: str) -> UInt8Array | None:
        """Return the fitted image of a camera with what was looked at; None if that is unknown."""
        if not isinstance(self._inner, Attentive):
            return None
        return self._inner.draw_attention(self._fit(observation), camera)

    def _fit(self, observation: Observation) -> Observation:
        return fit_observation(observation, self._sizes, self._pool)


def fit_observation(
    observation: Observation, sizes: Sizes, pool: ArrayPool | None = None
) -> Observation:
    """Return the observation with the images and depths of the cameras in `sizes` fitted.

    Those that are resized are in arrays of `pool`.
    """
    return replace(
        observation,
        images={
            camera: fit_rgb(image, *sizes[camera], pool) if camera in sizes else image
            for camera, image in observation.images.items()
        },
        depths={
            camera: fit_depth(depth, *sizes[camera], pool) if camera in sizes else depth
            for camera, depth in observation.depths.items()
        },
    )


def open_fitted(
    open_policy: Callable[[str, RobotContract, EngineChoice], Policy],
    directory: str,
    running: RobotContract,
    choice: EngineChoice,
) -> tuple[Policy, list[ContractDifference]]:
    """Return a bundle's policy fitted to a robot that it was not made for, and how they differ.

    Args:
        open_policy: Opens the bundle for the robot that it was made for.
        directory: The bundle.
        running: Contract of the robot that it will run on.
        choice: Backends that are to run it.

    Raises:
        BundleError: if a file of the bundle is missing or corrupted.
        ContractError: if the contract in it cannot be read.
    """
    trained = RobotContract.from_dict(Bundle.open(directory).contract)
    found = require_compatible(trained, running, allow_differences=True)
    sizes = {
        spec.camera: (spec.width, spec.height) for spec in trained.observations if spec.camera
    }
    return FittedPolicy(open_policy(directory, trained, choice), sizes), found
