"""The tabletop of a robot whose senses are disturbed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vla_ros.core.types import ActionChunk
from vla_ros.evaluation.disturbance.base import Disturbance, Filter
from vla_ros.sim.environment import Environment, TimeStep
from vla_ros.sim.model import CAMERAS
from vla_ros.sim.scenes import Scene


class DisturbedEnvironment(Environment):
    """Hands out disturbed observations; physics, gate and judge stay as they are."""

    def __init__(
        self, disturbances: Sequence[Disturbance], *, cameras: tuple[str, ...] = CAMERAS
    ) -> None:
        """Make an environment.

        Args:
            disturbances: Applied one after another; none disturbs nothing.
            cameras: Which cameras are rendered.
        """
        super().__init__(cameras=cameras)
        self._disturbances = tuple(disturbances)
        self._filters: tuple[Filter, ...] = ()

    def reset(self, scene: Scene, *, lag_s: float = 0.0) -> TimeStep:
        """Begin an episode; what is random about the disturbances hangs on the scene's seed."""
        filters = []
        seed = scene.seed
        for disturbance in self._disturbances:
            rng = disturbance.rng(seed)
            scene = disturbance.place(scene, rng)
            filters.append(disturbance.begin(rng))
        self._filters = tuple(filters)
        lag_s += sum(disturbance.lag_s for disturbance in self._disturbances)
        return self._disturbed(super().reset(scene, lag_s=lag_s))

    def step(self, chunk: ActionChunk | None) -> TimeStep:
        """Hand the gate a chunk (or none) and let 50 ms pass."""
        return self._disturbed(super().step(chunk))

    def _disturbed(self, step: TimeStep) -> TimeStep:
        observation = step.observation
        for change in self._filters:
            observation = change(observation)
        return replace(step, observation=observation)
