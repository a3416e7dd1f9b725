"""Recordings where they lie: in a folder, or behind a URL that fsspec opens (s3://, gs://, ...).

An episode of a URL is copied to this machine while it is worked on, and no longer: what is read
needs room for one episode a process, not for the recording.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from vla_ros.core.errors import UserError
from vla_ros.data.episode import DESCRIPTION, episode_folders

#: A recording, or an episode: a folder, or a URL.
Source = Path | str


def is_url(source: Source) -> bool:
    """Return whether a source is a URL, such as s3://bucket/recordings."""
    return "://" in str(source)


def open_storage(url: str, **options: Any) -> tuple[Any, str]:
    """Return the file system of a URL and the path on it.

    Args:
        url: Such as s3://bucket/recordings, gs://…, file://…, memory://….
        options: For fsspec's file system; endpoints and keys otherwise come from the environment
            and the files that its package reads (https://filesystem-spec.readthedocs.io).

    Raises:
        UserError: if nothing opens such a URL here; says which package would.
    """
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url, **options)
    except (ImportError, ValueError) as error:
        raise UserError(f"{url}: cannot be opened: {error}") from error
    return system, path.rstrip("/")


def episode_sources(recording: Source) -> list[Source]:
    """Return a recording's episodes in the order of their names, as folders or URLs.

    Raises:
        UserError: if it holds none, or cannot be opened.
    """
    if not is_url(recording):
        return [*episode_folders(Path(recording))]
    system, root = open_storage(str(recording))
    if system.isfile(f"{root}/{DESCRIPTION}"):
        return [str(recording).rstrip("/")]
    found = sorted(system.glob(f"{root}/episode_*/{DESCRIPTION}"))
    if not found:
        raise UserError(
            f"{recording}: holds no episodes; expected folders episode_000000, episode_000001, …"
        )
    base = str(recording).rstrip("/")
    return [f"{base}/{PurePosixPath(path).parent.name}" for path in found]


@contextmanager
def local_copy(source: Source) -> Iterator[Path]:
    """Give a source as a folder of this machine: itself, or a copy that is then removed."""
    if not is_url(source):
        yield Path(source)
        return
    system, root = open_storage(str(source))
    with tempfile.TemporaryDirectory(prefix="vla_ros_") as place:
        folder = Path(place) / PurePosixPath(root).name
        for path in _files(system, root):
            target = folder / PurePosixPath(path).relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(path, str(target))
        yield folder


def fingerprint(source: Source) -> str:
    """Return what changes when a file of a source does: of names, sizes and times of change."""
    parts: list[object] = []
    if is_url(source):
        system, root = open_storage(str(source))
        for path, info in sorted(_files(system, root).items()):
            when = [info.get(key) for key in ("mtime", "LastModified", "updated", "created")]
            parts.append((path, info.get("size"), info.get("ETag"), when))
    else:
        folder = Path(source)
        for file in sorted(item for item in folder.rglob("*") if item.is_file()):
            stat = file.stat()
            parts.append((str(file.relative_to(folder)), stat.st_size, stat.st_mtime_ns))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _files(system: Any, root: str) -> dict[str, dict[str, Any]]:
    """Return what is known of each file below `root`, by path.

    Raises:
        UserError: if there is none.
    """
    files: dict[str, dict[str, Any]] = system.find(root, detail=True)
    if not files:
        raise UserError(f"{system.unstrip_protocol(root)}: holds no files")
    return files
