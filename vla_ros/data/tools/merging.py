"""Merges recordings into one, and splits one into several."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from vla_ros.core.errors import UserError
from vla_ros.data.episode import Episode, read_episode
from vla_ros.data.tools.episode_copy import Change, copy_episode, recorded_episodes
from vla_ros.data.tools.staging import refuse_existing, staged

#: Shares of a split must add up to 1 within this.
TOLERANCE = 1e-6


class Criterion(StrEnum):
    """What episodes are told apart by when a recording is split."""

    OUTCOME = "outcome"
    TASK = "task"


def merge_recordings(sources: Sequence[Path], output: Path) -> int:
    """Write the episodes of recordings, in their order, into one; return their number.

    Args:
        sources: Folders of recordings, or of episodes.
        output: Folder of the new recording.

    Raises:
        UserError: if the contracts differ, or the output is there.
    """
    folders = [folder for source in sources for folder in recorded_episodes(source)]
    _refuse_differing(folders)
    with staged(output) as place:
        for number, folder in enumerate(folders):
            copy_episode(folder, place, number, Change(description=_remember(folder)))
    return len(folders)


def split_by_share(
    recording: Path, output: Path, shares: Mapping[str, float], seed: int = 0
) -> dict[str, int]:
    """Deal the episodes of a recording out at random; return how many each part got.

    Args:
        recording: Folder of the recording.
        output: Folder that gets one recording per part.
        shares: Of each part by its name, above 0; together 1.
        seed: Of the order that they are dealt out in.

    Raises:
        UserError: if the shares are none, a part would get no episode, or the output is there.
    """
    total = sum(shares.values())
    if not abs(total - 1.0) <= TOLERANCE or not all(value > 0 for value in shares.values()):
        raise UserError(
            f"shares are {dict(shares)}, together {total:g}; expected each above 0, together 1"
        )
    folders = recorded_episodes(recording)
    order = np.random.default_rng(seed).permutation(len(folders))
    ends = np.round(np.cumsum(list(shares.values())) * len(folders)).astype(int)
    parts: dict[str, list[Path]] = {}
    for name, end, begin in zip(shares, ends, [0, *ends], strict=False):
        parts[name] = [folders[index] for index in sorted(order[begin:end])]
        if not parts[name]:
            raise UserError(
                f"{recording}: has {len(folders)} episodes, of which {shares[name]:g} are none "
                f"for {name!r}; give it a greater share, or record more"
            )
    return _write_parts(output, parts)


def split_by_criterion(recording: Path, output: Path, criterion: Criterion) -> dict[str, int]:
    """Put episodes of one outcome, or one task, together; return how many each part got.

    Raises:
        UserError: if the output is there.
    """
    key: Callable[[Episode], str] = {
        Criterion.OUTCOME: lambda episode: episode.outcome.value or "unknown",
        Criterion.TASK: lambda episode: episode.instruction or "no_instruction",
    }[criterion]
    parts: dict[str, list[Path]] = {}
    names: dict[str, str] = {}
    for folder in recorded_episodes(recording):
        value = key(read_episode(folder))
        if value not in names:
            names[value] = _unused(_folder_name(value), set(names.values()))
        parts.setdefault(names[value], []).append(folder)
    return _write_parts(output, dict(sorted(parts.items())))


def _write_parts(output: Path, parts: Mapping[str, Sequence[Path]]) -> dict[str, int]:
    refuse_existing(output)
    with staged(output) as place:
        for name, folders in parts.items():
            for number, folder in enumerate(folders):
                copy_episode(folder, place / name, number, Change(description=_remember(folder)))
    return {name: len(folders) for name, folders in parts.items()}


def _remember(folder: Path) -> Callable[[Episode], Episode]:
    """Return what notes in an episode where it comes from."""
    origin = f"{folder.parent.name}/{folder.name}"
    return lambda episode: replace(episode, extra={**episode.extra, "origin": origin})


def _refuse_differing(folders: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for folder in folders:
        seen.setdefault(read_episode(folder).contract_sha256, folder)
    if len(seen) > 1:
        (_, first), (_, other), *_ = seen.items()
        raise UserError(
            f"{other}: was recorded with another contract than {first}; one recording has one. "
            f"Compare {first / 'contract.yaml'} with {other / 'contract.yaml'}"
        )


def _folder_name(value: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", value.lower()).strip("_")[:60] or "other"


def _unused(name: str, taken: set[str]) -> str:
    number, free = 2, name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free
