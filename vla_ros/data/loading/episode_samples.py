"""What has to be known of a recorded episode to read any sample of it: kept on disk once known.

One pass over the messages runs the very code that the policy node runs (`data.frames`), with the
numbers of the messages in the place of pixels. So a sample is made of the messages that the node
would have used, and none else has to be read for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros.contract import DEPTHS, IMAGES
from vla_ros.core.errors import ObservationError, UserError
from vla_ros.core.types import Observation
from vla_ros.data.episode import CONTRACT, message_files
from vla_ros.data.frames import RecordedEpisode, open_episode
from vla_ros.data.loading.positions import Positions, find_messages
from vla_ros.data.loading.sample import ACTORS, Array
from vla_ros.data.message_file import RecordedMessage

#: Of what is kept; another one is made anew.
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EpisodeSamples:
    """The samples of an episode, but for pixels: F frames.

    Attributes:
        stamps: Of the frames [ns], (F,).
        state: Joint positions [rad], (F, n).
        command: In force [rad], (F, n); NaN where there was none.
        imu: Windows (F, T, 6); NaN where there was none.
        actor: Who moved the robot next, of `ACTORS.values()`, (F,).
        task: Number of the instruction, (F,).
        tasks: Instructions.
        cameras: Features of images and depth images.
        message: Number of the message of each of them, (F, cameras); -1 where there was none.
        places: Of those messages (M, 4): file, chunk, offset, length; the first column counts the
            episode's files. A message has as many as its number.
        commanded_ns: From when each command was in force [ns], (C,).
        commanded: The commands [rad], (C, n).
        left_out: Frames for which there was no observation.
        why: Of the first of them, in words; "" if there is none.
    """

    stamps: Array
    state: Array
    command: Array
    imu: Array
    actor: Array
    task: Array
    tasks: tuple[str, ...]
    cameras: tuple[str, ...]
    message: Array
    places: Array
    commanded_ns: Array
    commanded: Array
    left_out: int
    why: str

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.stamps)

    def chunks(
        self, frames: slice, horizon: int, step_s: float
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the commands that followed some frames, (N, horizon, n) [rad].

        They are those of `RecordedEpisode.targets`. Beside them, which were made up since the
        last command had been given by then, (N, horizon).
        """
        steps_ns = np.round(np.arange(1, horizon + 1) * step_s * 1e9).astype(np.int64)
        times = self.stamps[frames, None] + steps_ns
        found = np.searchsorted(self.commanded_ns, times, side="right") - 1
        chunk = np.asarray(self.commanded[np.maximum(found, 0)], np.float32)
        return chunk, times > self.commanded_ns[-1]


def samples_of(folder: Path, cache: Path | None = None) -> EpisodeSamples:
    """Return what is known of the episode in a folder.

    Args:
        folder: Of the episode.
        cache: Folder to keep it in, and to look for it; None to work it out.

    Raises:
        UserError: if the folder is no episode, or nothing was commanded in it.
    """
    kept = None if cache is None else cache / f"{_digest(folder)}.npz"
    if kept is not None and (known := _read(kept)) is not None:
        return known
    found = _Pass(folder).run()
    if kept is not None:
        _write(kept, found)
    return found


class _Pass(RecordedEpisode):
    """Goes once over an episode, and notes which message each pixel would have come from."""

    def __init__(self, folder: Path) -> None:
        opened = open_episode(folder)
        super().__init__(folder, opened.info, opened.contract)
        self._number, self._count = -1, 0
        self._left_out: list[str] = []

    def raw_messages(self, topics: Collection[str] | None = None) -> Iterator[RecordedMessage]:
        """Yield messages, and remember the number of the last one; see `RecordedEpisode`."""
        for number, message in enumerate(super().raw_messages()):
            self._count = max(self._count, number + 1)
            if topics is None or message.topic in topics:
                self._number = number
                yield message

    def run(self) -> EpisodeSamples:
        contract = self.contract
        cameras = tuple(
            item.feature
            for item in contract.observations
            if item.feature.startswith((IMAGES, DEPTHS))
        )
        seen = list(self.observations(self._skip, keep=self._keep))
        commands = self.index.commands
        if not len(commands.since_ns):
            self.targets(0, 1, 1.0)  # says so
        files = [find_messages(path) for path in message_files(self.folder)]
        if sum(map(len, files)) != self._count:
            raise UserError(
                f"{self.folder}: {self._count} messages can be read one after another, and "
                f"{sum(map(len, files))} by their place; one of its files is damaged: "
                "`vla_ros data recover` mends it"
            )
        number = np.array([[_number(each, feature) for feature in cameras] for each in seen])
        number = number.reshape(-1, len(cameras)).astype(np.int64)
        used, message = np.unique(number, return_inverse=True)
        message = message.reshape(number.shape)
        if len(used) and used[0] < 0:
            used, message = used[1:], message - 1
        tasks: dict[str, int] = {}
        told = [self.instruction_at(each.stamp_ns) for each in seen]
        task = [tasks.setdefault(text, len(tasks)) for text in told]
        n = len(contract.action.joints)
        return EpisodeSamples(
            stamps=np.array([each.stamp_ns for each in seen], np.int64),
            state=np.array([each.state for each in seen], np.float32).reshape(-1, n),
            command=_filled([each.command for each in seen], (n,)),
            imu=_filled([each.imu for each in seen], ()),
            actor=np.array(
                [ACTORS.get(self.actor_at(each.stamp_ns + self.period_ns), 0) for each in seen],
                np.int8,
            ),
            task=np.array(task, np.int64),
            tasks=tuple(tasks),
            cameras=cameras,
            message=message,
            places=_places(files, used),
            commanded_ns=commands.since_ns,
            commanded=commands.targets,
            left_out=len(self._left_out),
            why=self._left_out[0] if self._left_out else "",
        )

    def _keep(self, feature: str, value: NDArray[np.generic]) -> NDArray[np.generic]:
        """Keep the number of the message as bits of the type that images and depths have."""
        if feature.startswith((IMAGES, DEPTHS)):
            number = np.array([self._number], np.int64)
            return number.view(np.uint8 if feature.startswith(IMAGES) else np.float32)
        return value

    def _skip(self, stamp_ns: int, error: ObservationError) -> None:
        self._left_out.append(str(error))


def _number(observation: Observation, feature: str) -> int:
    """Return the number of the message that a camera's pixels would be of; -1 for none."""
    there = observation.images if feature.startswith(IMAGES) else observation.depths
    for prefix in (IMAGES, DEPTHS):
        feature = feature.removeprefix(prefix)
    found = there.get(feature)
    return -1 if found is None else int(found.view(np.int64)[0])


def _filled(values: list[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Stack arrays; NaN in place of those that are None."""
    shapes = [each.shape for each in values if each is not None]
    empty = np.full(shapes[0] if shapes else shape, np.nan, np.float32)
    rows = [empty if each is None else each for each in values]
    return np.array(rows, np.float32).reshape(len(rows), *empty.shape)


def _places(files: list[Positions], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return file, chunk, offset and length (M, 4) of messages, which count on through files."""
    rows = [
        np.stack([np.full(len(each), index), each.chunk, each.offset, each.length], 1)
        for index, each in enumerate(files)
    ]
    whole = np.concatenate(rows) if rows else np.zeros((0, 4), np.int64)
    return np.asarray(whole[numbers], np.int64)


def _digest(folder: Path) -> str:
    """Return what changes when an episode does."""
    parts: list[object] = [VERSION]
    for path in (*message_files(folder), folder / CONTRACT, folder / "episode.json"):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue  # whoever opens the episode says so
        parts.append((str(path.resolve()), stat.st_size, stat.st_mtime_ns))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _read(path: Path) -> EpisodeSamples | None:
    try:
        with np.load(path) as arrays:
            words = json.loads(str(arrays["words"]))
            values = {name: arrays[name] for name in arrays.files if name != "words"}
    except (FileNotFoundError, EOFError, OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None
    words["tasks"], words["cameras"] = tuple(words["tasks"]), tuple(words["cameras"])
    return EpisodeSamples(**values, **words)


def _write(path: Path, found: EpisodeSamples) -> None:
    values = {each.name: getattr(found, each.name) for each in fields(EpisodeSamples)}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    words = json.dumps({name: values[name] for name in values if name not in arrays})
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(suffix=".npz", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        np.savez(file, words=np.array(words), **arrays)  # type: ignore[arg-type]
    Path(partial).replace(path)
