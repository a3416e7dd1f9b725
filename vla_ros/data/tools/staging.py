"""Folders that are there only once they are whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vla_ros.core.errors import UserError


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Give a folder to write into; it gets the name `target` when the `with` ends well.

    If it does not, nothing is left.

    Raises:
        UserError: if `target` is there already.
    """
    refuse_existing(target)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    partial.mkdir(parents=True)
    try:
        yield partial
        refuse_existing(target)
        if target.is_dir():  # and empty
            target.rmdir()
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def refuse_existing(target: Path) -> None:
    """Refuse to write where something is; an empty folder is nothing.

    Raises:
        UserError: names it.
    """
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists():
        raise UserError(f"{target}: is there already, and is not overwritten; name another output")
