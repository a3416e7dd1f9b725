"""What every disturbance is: a strength, and what it does in an episode."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from vla_ros.core.types import Observation, UInt8Array
from vla_ros.sim.scenes import Scene

#: Takes the observations of one episode in their order; returns what the policy sees of each.
Filter = Callable[[Observation], Observation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance(ABC):
    """One thing that goes wrong, at a fixed strength; the fields of its subclasses say how strong.

    Attributes:
        name: What `vla_ros eval --disturb` calls it.
    """

    name: str

    @property
    @abstractmethod
    def effect(self) -> str:
        """What it does and how strongly, in one line for `--help` and the docs."""

    @property
    def stream(self) -> str:
        """What its random numbers are drawn for; equal streams draw equal numbers."""
        return self.name

    @property
    def fingerprint(self) -> str:
        """What tells it from every other one: results of one must not be taken for another's."""
        return repr(self)

    @property
    def loses(self) -> str | None:
        """The sensor that it takes away, of `deprivation.LOSABLE`, if that is what it does."""
        return None

    @property
    def lag_s(self) -> float:
        """How much later than otherwise a chunk reaches the gate, in [s]."""
        return 0.0

    def rng(self, seed: int) -> Generator:
        """Return the random numbers of the episode whose scene has `seed`.

        They hang on seed and stream alone: not on other disturbances, workers or order.
        """
        return np.random.default_rng((seed, zlib.crc32(self.stream.encode())))

    def place(self, scene: Scene, rng: Generator) -> Scene:
        """Return the scene as it really is; called before the episode, ahead of `begin`."""
        del rng
        return scene

    def begin(self, rng: Generator) -> Filter:
        """Return the filter of a new episode."""
        del rng
        return lambda seen: seen


def change_images(
    seen: Observation, change: Callable[[str, UInt8Array], UInt8Array]
) -> Observation:
    """Return the observation with `change(camera, image)` in place of each colour image."""
    images = {camera: change(camera, image) for camera, image in seen.images.items()}
    return replace(seen, images=images)
