"""Shards: the episodes of consecutive seeds in one .npz, named after the first seed."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import UserError
from vla_ros.learning.rollouts import Record

SHARD_EPISODES = 25


def shard_path(directory: Path, seed: int) -> Path:
    """Path of the shard whose first scene has the seed."""
    return directory / f"shard-{seed:09d}.npz"


def shard_paths(directory: Path) -> list[Path]:
    """Paths of a folder's finished shards, sorted."""
    paths = sorted(directory.glob("shard-*.npz"))
    return [path for path in paths if ".partial" not in path.name]


def missing_seeds(directory: Path, wanted: range) -> list[range]:
    """Return the seeds that no shard of the folder holds, as one range per shard to come.

    Raises:
        UserError: if a shard cannot be read; names it.
    """
    held = _held_seeds(directory)
    shards: list[range] = []
    for seed in wanted:
        if seed in held:
            continue
        if shards and shards[-1].stop == seed and len(shards[-1]) < SHARD_EPISODES:
            shards[-1] = range(shards[-1].start, seed + 1)
        else:
            shards.append(range(seed, seed + 1))
    return shards


def _held_seeds(directory: Path) -> set[int]:
    """Return the seeds of all episodes that the folder's shards hold."""
    held: set[int] = set()
    for path in shard_paths(directory):
        held.update(_seeds_of(path))
    return held


def _seeds_of(path: Path) -> range:
    try:
        first = int(path.stem.removeprefix("shard-"))
        with np.load(path) as shard:
            return range(first, first + len(shard["meta/skill"]))
    except (zipfile.BadZipFile, EOFError, KeyError, ValueError) as error:
        raise UserError(
            f"{path}: is no shard ({error}); remove it, and its scenes are played again"
        ) from error


def save_shard(path: Path, records: Sequence[Record]) -> None:
    """Write records as one .npz, atomically; rows of all episodes are concatenated."""
    arrays: dict[str, NDArray[np.generic]] = {}
    lengths = np.array([len(record.states["state"]) for record in records])
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    for key in records[0].meta:
        arrays[f"meta/{key}"] = np.stack([record.meta[key] for record in records])
    arrays["meta/success"] = np.array([record.success for record in records])
    arrays["meta/text"] = np.array([record.texts for record in records])
    arrays["states/episode"] = np.repeat(np.arange(len(records)), lengths).astype(np.int32)
    for key in records[0].states:
        arrays[f"states/{key}"] = np.concatenate([np.stack(r.states[key]) for r in records])
    with_images = [(r, o) for r, o in zip(records, offsets, strict=True) if r.images]
    for key in with_images[0][0].images if with_images else ():
        arrays[f"images/{key}"] = np.concatenate([np.stack(r.images[key]) for r, _ in with_images])
    if with_images:
        arrays["images/row"] = np.concatenate(
            [np.array(r.images["row"], np.int32) + offset for r, offset in with_images]
        )
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **arrays)  # type: ignore[arg-type]
    partial.rename(path)
