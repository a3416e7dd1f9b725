"""Says what is done when within an episode: stretches of time with words, in `episode.json`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vla_ros.core.errors import UserError
from vla_ros.data.episode import Episode, read_episode, write_episode

#: Key of an episode's `extra`.
SUBTASKS = "subtasks"
#: Times are kept to the millisecond; ends may lie this far behind the episode's [s].
SLACK_S = 0.0015


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtask:
    """A stretch of an episode.

    Attributes:
        begin_s: From the beginning of the episode [s].
        end_s: Likewise; from here on it is the next one's [s].
        text: What is done.
    """

    begin_s: float
    end_s: float
    text: str


def subtasks_of(episode: Episode) -> tuple[Subtask, ...]:
    """Return an episode's subtasks in the order of time; none if it has no annotations.

    Raises:
        UserError: if what is there are no subtasks.
    """
    values: Sequence[Mapping[str, Any]] = episode.extra.get(SUBTASKS, ())
    try:
        return tuple(
            Subtask(
                begin_s=float(value["begin_s"]),
                end_s=float(value["end_s"]),
                text=str(value["text"]),
            )
            for value in values
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{episode.name}: its {SUBTASKS} cannot be read: {error}") from error


def subtask_at(episode: Episode, time_ns: int) -> str:
    """Return what is done at a time [ns]; "" if nothing is said of it."""
    time_s = 1e-9 * (time_ns - episode.start_ns)
    found = (item.text for item in subtasks_of(episode) if item.begin_s <= time_s < item.end_s)
    return next(found, "")


def annotate(folder: Path, subtasks: Sequence[Subtask], *, overwrite: bool = False) -> Episode:
    """Write subtasks into an episode; return it as it is now.

    Args:
        folder: Of the episode.
        subtasks: In any order; they may leave gaps, and not overlap.
        overwrite: Whether to replace subtasks that it has; without any new ones they are removed.

    Raises:
        UserError: if one lies outside of the episode, two overlap, one has no words, or the
            episode has some already.
    """
    episode = read_episode(folder)
    if episode.extra.get(SUBTASKS) and not overwrite:
        raise UserError(
            f"{folder}: has {len(episode.extra[SUBTASKS])} subtasks; --replace puts others in "
            "their place"
        )
    ordered = sorted(subtasks, key=lambda item: item.begin_s)
    for item in ordered:
        _check(folder, item, episode.duration_s)
    for one, other in itertools.pairwise(ordered):
        if one.end_s > other.begin_s:
            raise UserError(
                f"{folder}: {one.text!r} ends at {one.end_s:g} s, after {other.text!r} begins "
                f"({other.begin_s:g} s)"
            )
    extra = {key: value for key, value in episode.extra.items() if key != SUBTASKS}
    if ordered:
        extra[SUBTASKS] = [
            {
                "begin_s": round(item.begin_s, 3),
                "end_s": round(item.end_s, 3),
                "text": item.text.strip(),
            }
            for item in ordered
        ]
    annotated = replace(episode, extra=extra)
    write_episode(folder, annotated)
    return annotated


def _check(folder: Path, item: Subtask, duration_s: float) -> None:
    if not item.text.strip():
        raise UserError(f"{folder}: the subtask at {item.begin_s:g} s has no words")
    if not 0.0 <= item.begin_s < item.end_s <= duration_s + SLACK_S:
        raise UserError(
            f"{folder}: {item.text!r} is from {item.begin_s:g} to {item.end_s:g} s; expected a "
            f"stretch within 0 to {duration_s:.3f} s"
        )
