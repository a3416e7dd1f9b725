"""The list of a dataset's files with sizes and hashes, which lies beside them where it is sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from vla_ros.core.errors import UserError

#: Name of the list, at the top of the dataset.
NAME = "vla_ros_files.json"
VERSION = 1
BLOCK_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """A file: how long it is [bytes], and the SHA-256 of what is in it."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Files of a dataset.

    Attributes:
        files: By their path from the dataset's top, with `/`.
        complete: Whether all of them are there: the last that is written.
    """

    files: Mapping[str, FileEntry] = field(default_factory=dict)
    complete: bool = False

    @property
    def size(self) -> int:
        """Of all files together [bytes]."""
        return sum(entry.size for entry in self.files.values())

    def to_text(self) -> str:
        """Return it as JSON."""
        files = {
            path: {"size": entry.size, "sha256": entry.sha256}
            for path, entry in sorted(self.files.items())
        }
        values = {"version": VERSION, "complete": self.complete, "files": files}
        return json.dumps(values, indent=1) + "\n"

    @classmethod
    def from_text(cls, text: str, where: str) -> Manifest:
        """Return the manifest that `to_text` wrote.

        Raises:
            UserError: if it is none, or names files outside of the dataset.
        """
        try:
            values = json.loads(text)
            if values["version"] != VERSION:
                raise ValueError(f"version {values['version']!r}, expected {VERSION}")
            files = {
                str(path): FileEntry(size=int(entry["size"]), sha256=str(entry["sha256"]))
                for path, entry in values["files"].items()
            }
            complete = bool(values["complete"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{where}: is no list of files: {error}") from error
        for path in files:
            require_inside(path, where)
        return cls(files=files, complete=complete)


def require_inside(path: str, where: str) -> None:
    """Refuse a path that leads out of the dataset: who wrote it may mean harm.

    Raises:
        UserError: names it.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or ":" in parts[0]:
        raise UserError(f"{where}: names the file {path!r}, which is not within the dataset")


def describe(folder: Path) -> Manifest:
    """Return the files of a folder, less hidden ones and those that are being written.

    Raises:
        UserError: if there is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder")
    files = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)
        if hidden or not path.is_file() or path.suffix == ".partial" or parts == (NAME,):
            continue
        files["/".join(parts)] = FileEntry(size=path.stat().st_size, sha256=hash_file(path))
    if not files:
        raise UserError(f"{folder}: holds no files")
    return Manifest(files=files, complete=True)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
