"""`vla_ros data push` and `pull`: datasets to and from storage and hubs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from vla_ros.cli.editing_options import say
from vla_ros.core.errors import UserError
from vla_ros.data.storage import is_url

if TYPE_CHECKING:
    from vla_ros.data.transfer.storage_transfer import OnFile

Endpoint = Annotated[str, typer.Option(help="Address of a hub, if it is not huggingface.co.")]


def push(
    folder: Annotated[Path, typer.Argument(help="Folder of a recording or a dataset.")],
    url: Annotated[str, typer.Argument(help="hf://datasets/OWNER/NAME, s3://…, gs://…, file://…")],
    update: Annotated[
        bool, typer.Option("--update", help="Send what differs from what is there (storage).")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see it (hub).")] = False,
    endpoint: Endpoint = "",
) -> None:
    """Send a dataset to a hub or to storage; a run that was stopped goes on.

    vla_ros data push dataset hf://datasets/me/cubes

    vla_ros data push recordings s3://bucket/recordings
    """
    _require_url(url)
    if url.startswith("hf://"):
        from vla_ros.data.transfer.hub import HubDataset

        where = HubDataset.from_url(url, endpoint).push(folder, private=not public)
        say(f"{folder}: is at {where}")
        return
    from vla_ros.data.transfer.storage_transfer import push as push_to_storage

    with _bar("sending") as on_file:
        done = push_to_storage(folder, url, update=update, on_file=on_file)
    say(f"{url}: {done.moved} files sent, {done.kept} were there, {done.size / 1e6:.1f} MB in all")


def pull(
    url: Annotated[str, typer.Argument(help="hf://datasets/OWNER/NAME, s3://…, gs://…, file://…")],
    folder: Annotated[Path, typer.Argument(help="Folder that it gets; must not be there.")],
    endpoint: Endpoint = "",
) -> None:
    """Fetch a dataset from a hub or from storage, and verify it; a stopped run goes on.

    vla_ros data pull hf://datasets/me/cubes dataset
    """
    _require_url(url)
    if url.startswith("hf://"):
        from vla_ros.data.transfer.hub import HubDataset

        count = HubDataset.from_url(url, endpoint).pull(folder)
        say(f"{folder}: {count} files, verified")
        return
    from vla_ros.data.transfer.storage_transfer import pull as pull_from_storage

    with _bar("fetching") as on_file:
        done = pull_from_storage(url, folder, on_file=on_file)
    say(
        f"{folder}: {done.moved} files fetched, {done.kept} were there, "
        f"{done.size / 1e6:.1f} MB in all, verified"
    )


def _require_url(url: str) -> None:
    if not is_url(url):
        raise UserError(f"{url}: expected a URL, such as hf://datasets/me/cubes or file:///data/x")


@contextmanager
def _bar(what: str) -> Iterator[OnFile]:
    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task, done = progress.add_task(what, total=None), 0

        def on_file(path: str, size: int) -> None:
            nonlocal done
            del path
            done += size
            progress.update(task, completed=done)

        yield on_file
