"""Deletes and renames episodes, features and tasks of a recording: into another one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vla_ros.contract import load_contract
from vla_ros.core.errors import UserError
from vla_ros.data.episode import CONTRACT, Episode, read_episode
from vla_ros.data.tools.episode_copy import Change, ChangeMessage, copy_episode, recorded_episodes
from vla_ros.data.tools.instructions import tell_instead
from vla_ros.data.tools.staging import staged


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """What is left out of the copy of a recording.

    Attributes:
        episodes: By number.
        features: By the contract's names; their topics' messages go with them.
        tasks: Instructions, whose episodes are left out.
    """

    episodes: Collection[int] = ()
    features: Collection[str] = ()
    tasks: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Renaming:
    """What gets another name in the copy of a recording, old -> new.

    Attributes:
        episodes: Numbers.
        features: The contract's names.
        tasks: Instructions, in what is known of an episode and in its messages.
    """

    episodes: Mapping[int, int] = field(default_factory=dict)
    features: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, str] = field(default_factory=dict)


def delete(recording: Path, output: Path, deletion: Deletion) -> int:
    """Copy a recording without something; return how many episodes are left.

    The numbers of the episodes stay.

    Raises:
        UserError: if something to delete is not there, nothing would be left, or the output is
            there.
    """
    episodes = {folder: read_episode(folder) for folder in recorded_episodes(recording)}
    _require_all(recording, "episode", deletion.episodes, [e.number for e in episodes.values()])
    _require_all(recording, "task", deletion.tasks, [e.instruction for e in episodes.values()])
    kept = [
        folder
        for folder, episode in episodes.items()
        if episode.number not in deletion.episodes and episode.instruction not in deletion.tasks
    ]
    if not kept:
        raise UserError(f"{recording}: no episode would be left")
    with staged(output) as place:
        for folder in kept:
            change = _without(folder, deletion.features) if deletion.features else Change()
            copy_episode(folder, place, episodes[folder].number, change)
    return len(kept)


def rename(recording: Path, output: Path, renaming: Renaming) -> int:
    """Copy a recording with other names; return how many episodes it has.

    Raises:
        UserError: if something to rename is not there, two would have one name, or the output is
            there.
    """
    episodes = {folder: read_episode(folder) for folder in recorded_episodes(recording)}
    old = [episode.number for episode in episodes.values()]
    _require_all(recording, "episode", renaming.episodes, old)
    _require_all(recording, "task", renaming.tasks, [e.instruction for e in episodes.values()])
    new = [renaming.episodes.get(number, number) for number in old]
    if twice := sorted({number for number in new if new.count(number) > 1}):
        raise UserError(f"{recording}: two episodes would have the number {twice[0]}")
    with staged(output) as place:
        for folder, number in zip(episodes, new, strict=True):
            copy_episode(folder, place, number, _renamed(folder, episodes[folder], renaming))
    return len(new)


def _without(folder: Path, features: Collection[str]) -> Change:
    """Return the change that takes features, and the topics that only they need, away."""
    contract = load_contract(folder / CONTRACT)
    names = [item.feature for item in contract.observations]
    _require_all(folder, "feature", features, names)
    kept = {item.topic for item in contract.observations if item.feature not in features}
    gone = {item.topic for item in contract.observations} - kept

    def take_away(values: dict[str, Any]) -> dict[str, Any]:
        observations = values["observations"]
        return values | {
            "observations": {name: observations[name] for name in names if name not in features}
        }

    return Change(contract=take_away, message=lambda item: None if item.topic in gone else item)


def _renamed(folder: Path, episode: Episode, renaming: Renaming) -> Change:
    features, tasks = renaming.features, renaming.tasks
    contract: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    if features:
        names = [item.feature for item in load_contract(folder / CONTRACT).observations]
        _require_all(folder, "feature", features, names)

        def contract(values: dict[str, Any]) -> dict[str, Any]:
            observations = values["observations"].items()
            renamed = {features.get(name, name): item for name, item in observations}
            if len(renamed) < len(names):
                raise UserError(f"{folder}: two features would have one name")
            return values | {"observations": renamed}

    message: ChangeMessage | None = None
    if episode.instruction in tasks:
        message = tell_instead(tasks)
    return Change(
        description=lambda item: replace(
            item, instruction=tasks.get(item.instruction, item.instruction)
        ),
        message=message,
        contract=contract,
    )


def _require_all(
    where: Path, kind: str, asked: Collection[object], there: Sequence[object]
) -> None:
    missing = [item for item in asked if item not in there]
    if missing:
        known = ", ".join(str(item) for item in dict.fromkeys(there))
        raise UserError(f"{where}: has no {kind} {missing[0]!r}; it has {known}")
