"""Cameras that stand elsewhere than the contract says."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator

from vla_ros.core.kinematics import cross_matrix
from vla_ros.core.types import FloatArray
from vla_ros.evaluation.disturbance.base import Disturbance
from vla_ros.sim.scenes import Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraMoved(Disturbance):
    """The real camera, colour and depth, is moved and turned; the policy believes the contract.

    It is moved in a random direction and turned about a random axis, both by exactly this much
    from where the contract has it, in place of the small error that every scene has.

    Attributes:
        camera: `front` or `wrist`.
        distance_m: How far it is moved [m].
        angle_deg: How far it is turned [deg].
    """

    camera: str
    distance_m: float = 0.02
    angle_deg: float = 3.0

    @property
    def effect(self) -> str:
        """Say which one and how far."""
        return (
            f"the {self.camera} camera stands {1e2 * self.distance_m:g} cm and "
            f"{self.angle_deg:g}° from where the contract has it"
        )

    def place(self, scene: Scene, rng: Generator) -> Scene:
        """Move the camera in the simulator."""
        shift = self.distance_m * _direction(rng)
        turn = _euler_xyz(_direction(rng), math.radians(self.angle_deg))
        offset: dict[str, Any] = {f"{self.camera}_offset": np.concatenate([shift, turn])}
        return replace(scene, appearance=replace(scene.appearance, **offset))


def _direction(rng: Generator) -> FloatArray:
    """Return a random unit vector (3,)."""
    vector = rng.standard_normal(3)
    return np.asarray(vector / np.linalg.norm(vector))


def _euler_xyz(axis: FloatArray, angle: float) -> FloatArray:
    """Return angles (3,) [rad] about x, y' and z'' that turn by `angle` [rad] about `axis`."""
    cross = cross_matrix(axis)
    matrix = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return np.array(
        [
            math.atan2(-matrix[1, 2], matrix[2, 2]),
            math.asin(matrix[0, 2]),
            math.atan2(-matrix[0, 1], matrix[0, 0]),
        ]
    )
