"""Other looks of a scene whose things stand where they stood."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from enum import StrEnum

import numpy as np

from vla_ros.sim.appearance import sample_appearance
from vla_ros.sim.scenes import Scene


class Look(StrEnum):
    """What of a scene's looks is drawn anew."""

    CAMERA = "camera"
    LIGHT = "light"
    TEXTURE = "texture"


def look_anew(
    scene: Scene, looks: Collection[Look], seed: int, camera_scale: float = 1.0
) -> Scene:
    """Return the scene with other looks; nothing that moves, or is touched, differs.

    Args:
        scene: As it was recorded.
        looks: What is drawn anew, in the ranges of `Appearance`.
        seed: Of the draw.
        camera_scale: Times the range that cameras are moved in (8 mm and 0.8 degrees at 1).
    """
    drawn = sample_appearance(np.random.default_rng((seed, 11)), len(scene.objects))
    appearance = scene.appearance
    if Look.CAMERA in looks:
        appearance = replace(
            appearance,
            front_offset=drawn.front_offset * camera_scale,
            wrist_offset=drawn.wrist_offset * camera_scale,
        )
    if Look.LIGHT in looks:
        appearance = replace(
            appearance,
            light_direction=drawn.light_direction,
            diffuse=drawn.diffuse,
            ambient=drawn.ambient,
        )
    if Look.TEXTURE in looks:
        appearance = replace(
            appearance,
            table_rgb=drawn.table_rgb,
            texture_noise=drawn.texture_noise,
            texture_seed=drawn.texture_seed,
            colour_jitter=drawn.colour_jitter,
        )
    return replace(scene, appearance=appearance)
