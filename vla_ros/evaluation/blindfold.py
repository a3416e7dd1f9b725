"""A policy that is told what to do and shown another table: what words alone are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vla_ros.core.protocols import Policy
from vla_ros.core.types import ActionChunk, Float32Array, Observation, UInt8Array
from vla_ros.sim.scenes import TEST_SEED, sample_scene
from vla_ros.sim.tabletop import CAMERAS, Tabletop

#: Seeds of the tables that are shown instead; no evaluation plays them.
SHOWN_SEED = 3 * TEST_SEED


class Blindfold:
    """What the cameras saw of another scene, held before a policy for a whole episode."""

    def __init__(self, policy: Policy, seed: int) -> None:
        """Cover the eyes of `policy` for the episode whose scene has the seed."""
        self._policy = policy
        table = Tabletop()
        table.reset(sample_scene(seed=SHOWN_SEED + seed % TEST_SEED, split="anything"))
        seen = {camera: table.render(camera) for camera in CAMERAS}
        table.close()
        self._images: Mapping[str, UInt8Array] = {name: rgb for name, (rgb, _) in seen.items()}
        self._depths: Mapping[str, Float32Array] = {name: far for name, (_, far) in seen.items()}

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
        """Return the policy's chunk for the other scene's pictures and the robot's own joints."""
        return self._policy.infer(replace(observation, images=self._images, depths=self._depths))
