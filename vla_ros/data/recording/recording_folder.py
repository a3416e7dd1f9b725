"""The folder of a recording while a recorder works in it: numbers, discarded episodes, a lock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from pathlib import Path

from vla_ros.core.errors import UserError
from vla_ros.data.episode import DESCRIPTION, DISCARDED, State, read_episode

LOCK, RESERVE, NEW = ".lock", ".reserve", ".new"
EPISODE = re.compile(r"episode_\d+")
#: Room for the ends of files, and for what is said of an episode, when the disk is full [bytes].
RESERVE_BYTES = 8 * 2**20


class RecordingFolder:
    """A recording's folder, which one process at a time writes to."""

    def __init__(self, path: Path) -> None:
        """Make the folder if it is not there, and lock it; the lock ends with the process.

        Raises:
            UserError: if another process records there, or it cannot be written to.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UserError(f"{path}: cannot be recorded to: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise UserError(
                f"{path}: another recorder works in this folder; end it, or choose another folder"
            ) from None
        shutil.rmtree(path / NEW, ignore_errors=True)  # an episode that had not begun

    def close(self) -> None:
        """Unlock the folder."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def next_number(self) -> int:
        """Return the number of the next episode: above all there are, discarded ones too."""
        return max((number for number, _ in self._numbered()), default=-1) + 1

    def find(self, number: int) -> Path:
        """Return the folder of an episode that is not discarded.

        Raises:
            UserError: if there is none; says which there are.
        """
        kept = {n: path for n, path in self._numbered() if path.parent == self.path}
        if number not in kept:
            known = f"there are {min(kept)} to {max(kept)}" if kept else "there are none"
            raise UserError(f"{self.path}: no episode has the number {number}; {known}")
        return kept[number]

    def completed(self) -> int:
        """Return how many episodes are complete."""
        folders = [path for _, path in self._numbered() if path.parent == self.path]
        return sum(_is_complete(folder) for folder in folders)

    def discard(self, folder: Path) -> None:
        """Put an episode aside."""
        (self.path / DISCARDED).mkdir(exist_ok=True)
        folder.rename(self.path / DISCARDED / folder.name)
        os.utime(self.path / DISCARDED / folder.name)

    def restore(self) -> Path:
        """Take back the episode that was discarded last; return its folder.

        Raises:
            UserError: if none is discarded.
        """
        aside = [path for _, path in self._numbered() if path.parent != self.path]
        if not aside:
            raise UserError(f"{self.path}: no episode is discarded")
        last = max(aside, key=lambda path: (path.stat().st_mtime_ns, path.name))
        return last.rename(self.path / last.name)

    def reserve(self) -> None:
        """Set room aside for when the disk is full; without it that is said less well."""
        with contextlib.suppress(OSError), (self.path / RESERVE).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)

    def release(self) -> None:
        """Give the room back."""
        (self.path / RESERVE).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Return what the disk still takes; 0 if it is gone."""
        try:
            return shutil.disk_usage(self.path).free
        except OSError:
            return 0

    def _numbered(self) -> list[tuple[int, Path]]:
        places = (self.path, self.path / DISCARDED)
        found = [
            item.parent
            for place in places
            for item in place.glob(f"episode_*/{DESCRIPTION}")
            if EPISODE.fullmatch(item.parent.name)  # a copy of one is none
        ]
        return sorted((int(path.name.rpartition("_")[2]), path) for path in found)


def _is_complete(folder: Path) -> bool:
    try:
        return read_episode(folder).state is State.COMPLETE
    except UserError:  # somebody has edited its description: it is not ours to judge
        return False
