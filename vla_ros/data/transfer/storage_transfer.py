"""Sends a dataset to, and fetches it from, storage that fsspec opens: s3://, gs://, file://.

Both go on where they were stopped, and both verify: what is sent by the size that the storage
tells, what is fetched by its hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_ros.core.errors import UserError
from vla_ros.data.storage import open_storage
from vla_ros.data.tools.staging import refuse_existing
from vla_ros.data.transfer.manifest import NAME, FileEntry, Manifest, describe, hash_file

#: Files at a time; how often each is tried; and how much is sent between two lists [bytes].
AT_A_TIME, TRIES, LISTED_BYTES = 8, 3, 64 * 2**20

#: Is told the path of each file that is there, and its size [bytes].
OnFile = Callable[[str, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """What a push or a pull did.

    Attributes:
        moved: Files that were sent or fetched.
        kept: Files that were there already.
        size: Of all of them together [bytes].
    """

    moved: int
    kept: int
    size: int


def push(
    folder: Path, url: str, *, update: bool = False, on_file: OnFile | None = None
) -> Transfer:
    """Send the files of a folder to a URL.

    A list of all files goes along. Until all are there it says so, and nobody pulls it.

    Args:
        folder: Of the dataset.
        url: Of the folder there.
        update: Whether another state of it may be there, of which what differs is sent anew.
        on_file: Is told of each file that is there.

    Raises:
        UserError: if something else is there, or a file cannot be sent.
    """
    wanted = describe(folder)
    system, root = _open(url)
    there = _read_manifest(system, root, url)
    if there is None and _anything(system, root):
        raise UserError(f"{url}: holds files, but no {NAME}: it is no dataset that was pushed")
    before = there.files if there is not None else {}
    other = [path for path, entry in before.items() if wanted.files.get(path) != entry]
    if other and not update:
        raise UserError(
            f"{url}: holds another state of the dataset ({other[0]} differs); --update sends "
            "what has changed"
        )
    sent = {
        path: entry
        for path, entry in wanted.files.items()
        if before.get(path) == entry and _size(system, f"{root}/{path}") == entry.size
    }
    kept = len(sent)
    for path, entry in sent.items():
        _tell(on_file, path, entry)
    unlisted = 0
    todo = {path: entry for path, entry in wanted.files.items() if path not in sent}
    if todo:
        _write_manifest(system, root, Manifest(files=sent))

    def send(path: str, entry: FileEntry) -> None:
        system.put_file(str(folder / path), f"{root}/{path}")
        if (size := _size(system, f"{root}/{path}")) != entry.size:
            raise OSError(f"{size} bytes are there, {entry.size} were sent")

    for path, entry in _in_parallel(send, todo, url):
        sent[path] = entry
        _tell(on_file, path, entry)
        unlisted += entry.size
        if unlisted >= LISTED_BYTES:
            _write_manifest(system, root, Manifest(files=sent))
            unlisted = 0
    if todo or there != wanted:
        _write_manifest(system, root, wanted)
    return Transfer(moved=len(todo), kept=kept, size=wanted.size)


def pull(url: str, folder: Path, *, on_file: OnFile | None = None) -> Transfer:
    """Fetch what `push` sent into a new folder, and verify every file.

    What is fetched stays in `.NAME.partial` until all is: another run goes on there.

    Args:
        url: Of the dataset.
        folder: That it gets; there must be none yet.
        on_file: Is told of each file that is there.

    Raises:
        UserError: if the folder is there, nothing was pushed or the push is not finished, or a
            file cannot be fetched or is not what was sent.
    """
    refuse_existing(folder)
    system, root = _open(url)
    wanted = _read_manifest(system, root, url)
    if wanted is None:
        raise UserError(f"{url}: has no {NAME}; expected what `vla_ros data push` sent")
    if not wanted.complete:
        raise UserError(f"{url}: is not whole: its push was stopped, or goes on. Push it again")
    partial = folder.with_name(f".{folder.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    kept = {path for path, entry in wanted.files.items() if _is(partial / path, entry)}
    for path in kept:
        _tell(on_file, path, wanted.files[path])

    def fetch(path: str, entry: FileEntry) -> None:
        target = partial / path
        target.parent.mkdir(parents=True, exist_ok=True)
        unverified = target.with_name(f"{target.name}.partial")
        system.get_file(f"{root}/{path}", str(unverified))
        if not _is(unverified, entry):
            unverified.unlink()
            raise OSError("it is not what was sent: its size or hash differs")
        unverified.replace(target)

    todo = {path: entry for path, entry in wanted.files.items() if path not in kept}
    for path, entry in _in_parallel(fetch, todo, url):
        _tell(on_file, path, entry)
    for file in sorted(partial.rglob("*")):  # of an earlier state that was begun
        if file.is_file() and file.relative_to(partial).as_posix() not in wanted.files:
            file.unlink()
    if folder.is_dir():  # and empty
        folder.rmdir()
    partial.rename(folder)
    return Transfer(moved=len(todo), kept=len(kept), size=wanted.size)


def _in_parallel(
    move: Callable[[str, FileEntry], None], files: Mapping[str, FileEntry], url: str
) -> Iterator[tuple[str, FileEntry]]:
    """Move files, some at a time and each up to `TRIES` times; yield each that is moved.

    Raises:
        UserError: once the others have ended, if one could not be moved.
    """

    def attempt(path: str) -> None:
        for tried in range(1, TRIES + 1):
            try:
                move(path, files[path])
                break
            except OSError:
                if tried == TRIES:
                    raise

    failed: list[tuple[str, BaseException]] = []
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        futures = {pool.submit(attempt, path): path for path in files}
        try:
            for future in as_completed(futures):
                path = futures[future]
                if (error := future.exception()) is not None:
                    failed.append((path, error))
                else:
                    yield path, files[path]
        finally:
            pool.shutdown(cancel_futures=True)
    if failed:
        path, error = failed[0]
        raise UserError(
            f"{url}: {len(failed)} of {len(files)} files were not moved; {path}: {error}. What "
            "was moved stays: run it again to go on"
        ) from error


def _open(url: str) -> tuple[Any, str]:
    if url.startswith("file://"):
        return open_storage(url, auto_mkdir=True)
    return open_storage(url)


def _read_manifest(system: Any, root: str, url: str) -> Manifest | None:
    try:
        data = system.cat_file(f"{root}/{NAME}")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{url}: cannot be read: {error}") from error
    return Manifest.from_text(bytes(data).decode("utf-8", "replace"), f"{url}/{NAME}")


def _write_manifest(system: Any, root: str, manifest: Manifest) -> None:
    system.pipe_file(f"{root}/{NAME}", manifest.to_text().encode())


def _anything(system: Any, root: str) -> bool:
    return bool(system.exists(root) and system.find(root))


def _size(system: Any, path: str) -> int:
    """Return how long a file is there [bytes]; -1 if it is not."""
    try:
        system.invalidate_cache(path.rpartition("/")[0])
        return int(system.info(path)["size"])
    except FileNotFoundError:
        return -1


def _is(path: Path, entry: FileEntry) -> bool:
    return path.is_file() and path.stat().st_size == entry.size and hash_file(path) == entry.sha256


def _tell(on_file: OnFile | None, path: str, entry: FileEntry) -> None:
    if on_file is not None:
        on_file(path, entry.size)
