"""How one episode looks: light, table, colours, and where the cameras really are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """Lighting, texture and camera pose of one episode.

    Ranges: key light direction within 35 degrees of vertical, diffuse 0.45 to 0.75, ambient 0.25
    to 0.45; table grey-brown with a value noise of up to 12 %; object hue and value jittered by
    6 %; front camera moved by up to 8 mm and 0.8 degrees, wrist camera by up to 1.5 mm and 0.5
    degrees about each axis.
    """

    light_direction: tuple[float, float, float]
    diffuse: float
    ambient: float
    table_rgb: tuple[float, float, float]
    texture_noise: float
    texture_seed: int
    colour_jitter: NDArray[np.float64]  # (n_objects, 3)
    front_offset: NDArray[np.float64]  # (6,) x y z [m], roll pitch yaw [rad]
    wrist_offset: NDArray[np.float64]  # (6,)


def sample_appearance(rng: Generator, n_objects: int) -> Appearance:
    """Draw the appearance of a scene with `n_objects` objects."""
    tilt, turn = rng.uniform(0, math.radians(35)), rng.uniform(-math.pi, math.pi)
    base = rng.uniform(0.25, 0.8)
    tint = rng.uniform(-0.06, 0.06, 3)
    front = np.concatenate([rng.uniform(-0.008, 0.008, 3), rng.uniform(-0.014, 0.014, 3)])
    wrist = np.concatenate([rng.uniform(-0.0015, 0.0015, 3), rng.uniform(-0.0087, 0.0087, 3)])
    red, green, blue = (float(v) for v in np.clip(base + tint, 0, 1))
    return Appearance(
        light_direction=(
            math.sin(tilt) * math.cos(turn),
            math.sin(tilt) * math.sin(turn),
            -math.cos(tilt),
        ),
        diffuse=float(rng.uniform(0.45, 0.75)),
        ambient=float(rng.uniform(0.25, 0.45)),
        table_rgb=(red, green, blue),
        texture_noise=float(rng.uniform(0.0, 0.12)),
        texture_seed=int(rng.integers(2**31)),
        colour_jitter=rng.uniform(-0.06, 0.06, (n_objects, 3)),
        front_offset=front,
        wrist_offset=wrist,
    )
