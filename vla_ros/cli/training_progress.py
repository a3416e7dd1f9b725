"""Trains one run in this process: says what happens, shows the losses, stops at Ctrl-C."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vla_ros.core.errors import UserError
from vla_ros.learning.loss_plot import plot_losses
from vla_ros.learning.run_config import RunConfig
from vla_ros.learning.starting import parts_of
from vla_ros.learning.training import NonFiniteLoss, Trainer

FAILED, MENDABLE, INTERRUPTED = 1, 2, 130  # exit statuses


def train_in_group(run: RunConfig) -> int:
    """Train as one of several processes; return the exit status.

    What the user can mend, all processes find; the first of each machine says so.
    """
    try:
        return train_here(run)
    except UserError as error:
        quiet = os.environ.get("LOCAL_RANK", "0") != "0"
        _console(quiet=quiet).print(f"[bold red]error:[/] {escape(str(error))}")
        return MENDABLE


def train_here(run: RunConfig) -> int:
    """Train in this process; return the exit status.

    Raises:
        UserError: if there is something to mend first.
    """
    config = run.training
    _use_threads(config.threads, config.processes)
    console = _console(quiet=os.environ.get("RANK", "0") != "0")
    folders = (*config.data, *config.recordings)
    console.print(f"reading {', '.join(map(str, folders))}")
    try:
        trainer = Trainer(config, run.policy)
    except FileNotFoundError as error:
        raise UserError(str(error)) from error
    _tell_beginning(trainer, console)
    try:
        finished = _train_with_bar(trainer, console)
    except NonFiniteLoss as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}")
        return FAILED
    trainer.group.close()
    if trainer.group.main:
        plot_losses(config.output / "losses.jsonl", config.output / "losses.png")
    if not finished:
        console.print(
            f"stopped at step {trainer.step} of {config.steps}, saved in "
            f"{trainer.checkpoint_path}; the same command goes on from there"
        )
        return INTERRUPTED
    console.print(
        f"done: {trainer.checkpoint_path}\n"
        f"Make a bundle of it: vla_ros export {trainer.checkpoint_path} models/NAME"
    )
    return 0


def _console(*, quiet: bool) -> Console:
    return Console(stderr=True, soft_wrap=True, highlight=False, quiet=quiet)


def _use_threads(threads: int, processes: int) -> None:
    """Give torch so many threads; 0 divides the cores among the processes of this machine."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    count = threads or max(1, len(os.sched_getaffinity(0)) // here)
    os.environ["OMP_NUM_THREADS"] = str(count)  # accelerate sets its own number where none is
    torch.set_num_threads(count)


def _tell_beginning(trainer: Trainer, console: Console) -> None:
    """Say what is trained, on what, and what it begins with."""
    config, group = trainer.config, trainer.group
    if group.count > 1 or group.device.type != "cpu":
        console.print(f"{group.count} process(es), on {group.device.type}")
    if config.images:
        console.print(f"seeing images in {trainer.precision}")
    if trainer.step:
        console.print(f"going on from step {trainer.step} of {trainer.checkpoint_path}")
    elif trainer.fresh:
        console.print(
            f"{config.start} has no fitting weights for {len(trainer.fresh)} tensors, which begin "
            f"anew; they are of: {', '.join(parts_of(trainer.fresh))}"
        )


def _train_with_bar(trainer: Trainer, console: Console) -> bool:
    """Train to the end, or until Ctrl-C; return whether it is finished."""
    config = trainer.config
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    smooth: dict[str, float] = {}
    with _stop_on_interrupt() as stopped, Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=config.steps, completed=trainer.step)
        for losses in trainer.run():
            smooth = {key: 0.98 * smooth.get(key, v) + 0.02 * v for key, v in losses.items()}
            shown = "  ".join(f"{key} {value:.3f}" for key, value in smooth.items())
            progress.update(task, completed=trainer.step, description=shown)
            if trainer.group.any_of(bool(stopped)) and trainer.step < config.steps:
                trainer.save()
                return False
            if trainer.group.main and trainer.step % config.checkpoint_every == 0:
                plot_losses(config.output / "losses.jsonl", config.output / "losses.png")
    return True


@contextmanager
def _stop_on_interrupt() -> Iterator[list[bool]]:
    """Let the step in progress end after Ctrl-C: the list then holds something.

    A second Ctrl-C ends at once.
    """
    stopped: list[bool] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        stopped.append(True)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
