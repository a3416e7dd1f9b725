"""`vla_ros train`: train a policy from demonstrations."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vla_ros.cli.language_files import language_directory
from vla_ros.core.errors import UserError
from vla_ros.learning.loss_plot import plot_losses
from vla_ros.learning.recipes import tabletop_small, with_fusion
from vla_ros.learning.training import NonFiniteLoss, Trainer
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.fusion import FUSIONS

INTERRUPTED = 130  # exit status after Ctrl-C


def train(
    data: Annotated[list[Path], typer.Option(help="Folder of shards; may be given repeatedly.")],
    output: Annotated[Path, typer.Option(help="Where checkpoint and losses go.")],
    steps: Annotated[int, typer.Option(help="Optimizer steps in all.")] = 12000,
    images: Annotated[
        int, typer.Option(help="Rendered states per step; 0 trains the hand alone.")
    ] = 40,
    episodes: Annotated[
        int, typer.Option(help="Episodes of bare states per step; 0 trains the eyes alone.")
    ] = 48,
    states_per_episode: Annotated[int, typer.Option(help="Bare states per episode.")] = 8,
    sentences: Annotated[int, typer.Option(help="Sentences that instructions are drawn from.")] = (
        40000
    ),
    learning_rate: Annotated[float, typer.Option(help="At its peak.")] = 1e-3,
    start: Annotated[
        Path | None, typer.Option(help="checkpoint.pt or bundle to take the first weights from.")
    ] = None,
    fusion: Annotated[
        str, typer.Option(help=f"How the modalities are mixed: {', '.join(FUSIONS)}.")
    ] = "early",
    eyes_only: Annotated[
        list[Path] | None, typer.Option(help="Folder whose images train the eyes alone.")
    ] = None,
    language: Annotated[
        Path | None, typer.Option(help="Folder with the language encoder; the shipped one.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 500,
    threads: Annotated[int, typer.Option(help="Of torch; 0 takes all cores.")] = 0,
) -> None:
    """Train the policy of models/tabletop-small from demonstrations.

    Run the same command again to go on from the last checkpoint; Ctrl-C saves one first. Only
    --steps and --checkpoint-every may change then; for all else, give another --output.
    OUTPUT/losses.jsonl has the losses of every 20th step, OUTPUT/losses.png shows them.

    vla_ros train --data data/expert --output runs/mine

    vla_ros train --data data/expert --data data/round1 --output runs/round1
    --start runs/mine/checkpoint.pt --steps 4000

    vla_ros export runs/mine/checkpoint.pt models/mine
    """
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    config = TrainingConfig(
        data=tuple(data),
        output=output,
        language=language_directory(language, output / "language"),
        steps=steps,
        images=images,
        episodes=episodes,
        states_per_episode=states_per_episode,
        sentences=sentences,
        learning_rate=learning_rate,
        start=start,
        eyes_only=tuple(eyes_only or ()),
        seed=seed,
        checkpoint_every=checkpoint_every,
    )
    raise typer.Exit(_run(config, with_fusion(tabletop_small(), fusion)))


def _run(config: TrainingConfig, policy: PolicyConfig) -> int:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"reading {', '.join(str(folder) for folder in config.data)}")
    try:
        trainer = Trainer(config, policy)
    except FileNotFoundError as error:
        raise UserError(str(error)) from error
    if config.images:
        console.print(f"seeing images in {trainer.precision}")
    if trainer.step:
        console.print(f"going on from step {trainer.step} of {trainer.checkpoint_path}")
    if trainer.fresh and not trainer.step:
        console.print(f"{config.start} has no fitting weights for: {', '.join(trainer.fresh)}")
    try:
        finished = _train_with_bar(trainer, console)
    except NonFiniteLoss as error:
        console.print(f"[bold red]error:[/] {error}")
        return 1
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
            if stopped and trainer.step < config.steps:
                trainer.save()
                return False
            if trainer.step % config.checkpoint_every == 0:
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
