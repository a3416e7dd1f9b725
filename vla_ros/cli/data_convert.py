"""`vla_ros data convert`: recordings to a LeRobotDataset v3."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import UserError
from vla_ros.data.episode import CONTRACT
from vla_ros.data.parallel import Processed
from vla_ros.data.storage import episode_sources, local_copy


def convert(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="RECORDING... OUTPUT",
            help="Folders or URLs of recordings, then the folder of the dataset.",
        ),
    ],
    bad: Annotated[
        str, typer.Option(help="Episodes that cannot be converted: refuse, or skip.")
    ] = "refuse",
    writer: Annotated[
        str, typer.Option(help="own, lerobot, or auto: LeRobot's where it is installed.")
    ] = "auto",
    contract: Annotated[
        str, typer.Option(help="Contract to read by; the first episode's own by default.")
    ] = "",
    without: Annotated[list[str] | None, typer.Option(help="Leave a feature out; again.")] = None,
    images: Annotated[str, typer.Option(help="video, or png: without loss.")] = "video",
    depth: Annotated[str, typer.Option(help="mm: 16 bits, or float32: as it came.")] = "mm",
    codec: Annotated[str, typer.Option(help="Of videos: libsvtav1 or h264.")] = "libsvtav1",
    task: Annotated[str, typer.Option(help="Instruction of episodes that have none.")] = "",
    keep_cut: Annotated[
        bool, typer.Option("--keep-cut", help="Take what is whole of episodes that were cut off.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes; 0 for one per core.")] = 0,
    ray_address: Annotated[
        str | None, typer.Option(help="Ray cluster to run on; local to start one here.")
    ] = None,
) -> None:
    """Make a LeRobotDataset v3 of recordings; a run that was stopped goes on.

    vla_ros data convert recordings dataset
    """
    require_extra()
    from vla_ros.data.lerobot.conversion import convert as run
    from vla_ros.data.lerobot.features import DatasetFeatures
    from vla_ros.data.lerobot.staging import Conversion

    if len(paths) < 2:
        raise UserError("expected recordings, and then the folder of the dataset to be made")
    *recordings, output = paths
    features = DatasetFeatures(
        contract=load_contract(contract) if contract else _first_contract(recordings),
        without=tuple(without or ()),
        depth=depth,
        storage=images,
    )
    console = Console(soft_wrap=True)
    with _bar() as progress:
        bar = progress.add_task("converting", total=None, skipped=0)
        skipped = 0

        def on_episode(result: Processed[Any], total: int) -> None:
            nonlocal skipped
            skipped += bool(result.error)
            progress.update(bar, advance=1, total=total, skipped=skipped)

        report = run(
            recordings,
            Path(output),
            Conversion(features=features, codec=codec, task=task, keep_cut=keep_cut),
            bad=bad,
            writer=writer,
            workers=workers,
            ray_address=ray_address,
            on_episode=on_episode,
        )
    for why in report.skipped.values():
        console.print(f"skipped: {escape(why)}", highlight=False)
    before = " (was there already)" if report.finished_before else ""
    resumed = f", {report.resumed} of them by an earlier run" if report.resumed else ""
    console.print(
        f"{output}: {report.episodes} episodes{'' if before else resumed}, {report.frames} frames "
        f"at {features.fps} Hz, {len(report.skipped)} episodes skipped; written by "
        f"{'LeRobot' if report.writer == 'lerobot' else 'vla_ros'}{before}",
        highlight=False,
    )
    if report.leading:
        console.print(
            f"{report.leading} frames at the beginnings, before every feature was there, are left "
            "out",
            highlight=False,
        )


def require_extra() -> None:
    """Check that what datasets are written and read with is installed.

    Raises:
        UserError: if not; says how to install it.
    """
    missing = [name for name in ("pyarrow", "av") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"LeRobot datasets need {' and '.join(missing)}: pip install 'vla_ros[data]'"
        )


def _first_contract(recordings: list[str]) -> RobotContract:
    """Return the contract that the first episode was recorded with."""
    source = episode_sources(recordings[0])[0]
    with local_copy(source) as folder:
        return load_contract(folder / CONTRACT)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[skipped]} skipped"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
