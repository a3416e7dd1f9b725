"""Collected shards in memory, and the batches that training draws from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from vla_ros.core.errors import UserError
from vla_ros.learning.actors import Actor
from vla_ros.learning.rollouts import KINDS
from vla_ros.learning.shards import shard_paths
from vla_ros.learning.texts import Meaning
from vla_ros.sim.layout import CONTAINERS, DIRECTIONS
from vla_ros.sim.scenes import COLOURS, SHAPES, SKILLS

Array = NDArray[np.generic]


@dataclass(slots=True)
class Demonstrations:
    """Episodes, their states and the rendered states' images, as flat arrays.

    `states["episode"]` and `images["row"]` point into `meta` and `states`.
    """

    meta: dict[str, Array]
    states: dict[str, Array]
    images: dict[str, Array]

    @staticmethod
    def load(
        directories: Sequence[Path], eyes_only: Sequence[Path] = (), horizon: int | None = None
    ) -> Demonstrations:
        """Read every shard of the directories.

        Args:
            directories: Whose states and images train everything.
            eyes_only: Whose images train the eyes alone: their chunks are not imitated.
            horizon: Rows that are kept of each chunk; None for all, of which all have as many.

        Raises:
            FileNotFoundError: if a directory holds no shard.
            UserError: if chunks that are to be imitated have fewer rows.
        """
        groups: dict[str, dict[str, list[Array]]] = {"meta": {}, "states": {}, "images": {}}
        episodes = rows = 0
        for directory in (*directories, *eyes_only):
            paths = shard_paths(directory)
            if not paths:
                raise FileNotFoundError(
                    f"{directory}: holds no shard-*.npz; make some with `vla_ros demonstrate`"
                )
            for path in paths:
                shard = _read(path, eyes_only=directory in eyes_only)
                if horizon is not None:
                    shard["states/chunk"] = _cut(shard, horizon, path)
                for name, value in shard.items():
                    group, key = name.split("/")
                    if name == "states/episode":
                        value = value + episodes
                    elif name == "images/row":
                        value = value + rows
                    groups[group].setdefault(key, []).append(value)
                episodes += len(shard["meta/skill"])
                rows += len(shard["states/episode"])
        return Demonstrations(**{group: _join(values) for group, values in groups.items()})

    def pair(self, episode: int, thing: int) -> tuple[str, str]:
        """Return colour and shape of an object of an episode."""
        return (
            COLOURS[int(self.meta["colour"][episode, thing])],
            KINDS[int(self.meta["kind"][episode, thing])],
        )

    def looks(self, episode: int, named: int, target: int) -> list[tuple[int, int]]:
        """Return the classes of colour and kind of object and target; of none, the object's."""
        classes = []
        for thing in (named, target if target >= 0 else named):
            kind = int(self.meta["kind"][episode, thing])
            colour = int(self.meta["colour"][episode, thing])
            classes.append((colour if kind < len(SHAPES) else len(COLOURS), kind))
        return classes

    def meaning(self, episode: int) -> tuple[Meaning, int, int]:
        """Return what the episode's instruction means, and the indices of object and target."""
        skill = SKILLS[int(self.meta["skill"][episode])]
        named, target = int(self.meta["named"][episode]), int(self.meta["target"][episode])
        goal: str | tuple[str, str] | None = None
        if skill == "push":
            goal = list(DIRECTIONS)[int(self.meta["direction"][episode])]
        elif skill == "place":
            goal = KINDS[int(self.meta["kind"][episode, target])]
        elif skill == "stack":
            goal = self.pair(episode, target)
        return (skill, self.pair(episode, named), goal), named, target

    def any_meaning(self, rng: Generator, episode: int) -> tuple[Meaning, int, int]:
        """Draw something else that could be asked for in the episode's scene."""
        kinds = self.meta["kind"][episode]
        objects = [i for i in range(len(kinds)) if 0 <= kinds[i] < len(SHAPES)]
        flat = [i for i in objects if KINDS[kinds[i]] != "ball"]
        containers = [i for i in range(len(kinds)) if kinds[i] >= len(SHAPES)]
        named = int(rng.choice(objects))
        options: list[tuple[str, int]] = [("reach", -1), ("lift", -1), ("push", -1)]
        options += [("place", int(rng.choice(containers)))] * 3 if containers else []
        others = [i for i in flat if i != named]
        if named in flat and others:
            options += [("stack", int(rng.choice(others)))] * 3
        skill, target = options[int(rng.integers(len(options)))]
        goal: str | tuple[str, str] | None = None
        if skill == "push":
            goal = str(rng.choice(list(DIRECTIONS)))
        elif skill == "place":
            goal = CONTAINERS[kinds[target] - len(SHAPES)]
        elif skill == "stack":
            goal = self.pair(episode, target)
        return (skill, self.pair(episode, named), goal), named, target


def _join(parts: dict[str, list[Array]]) -> dict[str, Array]:
    """Concatenate each array's parts, freeing them one by one: images fill most of the memory."""
    return {key: np.concatenate(parts.pop(key)) for key in tuple(parts)}


def _cut(shard: dict[str, Array], horizon: int, path: Path) -> Array:
    """Return a shard's chunks with `horizon` rows (N, horizon, n).

    Raises:
        UserError: if those that are to be imitated have fewer.
    """
    chunks = shard["states/chunk"]
    rows = chunks.shape[1]
    if rows >= horizon:
        return chunks[:, :horizon]
    if shard["meta/imitate"].any():
        raise UserError(
            f"{path}: its chunks have {rows} rows, and the policy's horizon is {horizon}; collect "
            "it anew, or give its folder with --eyes-only"
        )
    return np.pad(chunks, ((0, 0), (0, horizon - rows), (0, 0)), mode="edge")  # nobody reads it


def _read(path: Path, *, eyes_only: bool) -> dict[str, Array]:
    """Return a shard's arrays.

    Shards of before commands were recorded still have images to learn to see from. Those of
    before stills were marked are all taken for episodes. Where no actor is marked, all is a
    demonstration.

    Raises:
        UserError: if the shard has no commands and is to be imitated.
    """
    with np.load(path) as shard:
        arrays: dict[str, Array] = {name: shard[name] for name in shard.files}
    if "states/command" not in arrays:
        if not eyes_only:
            raise UserError(
                f"{path}: was collected without commands; collect it anew, or give its folder "
                "with --eyes-only"
            )
        arrays["states/command"] = arrays["states/state"]
    if "states/actor" not in arrays:
        acted = np.full(len(arrays["states/episode"]), Actor.DEMONSTRATOR, np.int8)
        arrays["states/actor"] = acted
    imitate = arrays.get("meta/imitate", np.full(len(arrays["meta/skill"]), True))
    arrays["meta/imitate"] = np.logical_and(imitate, not eyes_only)
    return arrays
