"""What a recording keeps of its simulated scene, and the scene drawn again from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vla_ros.core.errors import UserError
from vla_ros.sim.scenes import SPLITS, Scene, sample_scene

#: Key of an episode's `extra`.
SCENE_KEY = "scene"


def scene_values(scene: Scene) -> dict[str, Any]:
    """Return what a scene is drawn again from, as JSON."""
    return {
        "seed": scene.seed,
        "split": scene.split,
        "skill": scene.skill,
        "instruction": scene.text,
    }


def redraw_scene(values: Mapping[str, Any]) -> Scene:
    """Return the scene that `scene_values` was made of.

    The skill may have been asked for or drawn, which makes two scenes of one seed: the sentence
    tells which it was.

    Raises:
        UserError: if the values are none, or this version draws another scene from them.
    """
    try:
        seed, split, skill = int(values["seed"]), str(values["split"]), str(values["skill"])
        text = str(values["instruction"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{dict(values)}: is no record of a simulated scene: {error}") from error
    if split not in SPLITS:
        raise UserError(f"split {split!r} of a recorded scene is none of {', '.join(SPLITS)}")
    for asked in (None, skill):
        scene = sample_scene(seed=seed, split=split, skill=asked)
        if scene.skill == skill and scene.text == text:
            return scene
    raise UserError(
        f"scene {seed} of split {split!r} is no longer drawn as it was recorded ({skill}: "
        f"{text!r}): another version of the simulator made it"
    )
