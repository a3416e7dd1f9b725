"""`vla_ros demonstrate`: make demonstrations with the scripted experts, or relabel a policy's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vla_ros.cli.language_files import language_directory
from vla_ros.core.errors import UserError
from vla_ros.learning.collection import CollectionConfig, collect, missing_episodes
from vla_ros.safety.gate_config import GateConfig

#: As old as the gate still takes a chunk [s].
LONGEST_LAG_S = GateConfig().max_chunk_age_s


def demonstrate(
    output: Annotated[Path, typer.Option(help="Folder of the shards; made if it is not there.")],
    episodes: Annotated[int, typer.Option(help="How many scenes.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the first scene.")] = 0,
    image_share: Annotated[
        float, typer.Option(help="Share of the 20 Hz states that are rendered, 0 to 1.")
    ] = 0.3,
    disturbance: Annotated[
        float, typer.Option(help="How hard the experts are disturbed; 0 not at all.")
    ] = 1.0,
    policy: Annotated[
        Path | None,
        typer.Option(help="Let this bundle, or checkpoint.pt, drive and the expert label it."),
    ] = None,
    expert_share: Annotated[
        float, typer.Option(help="Share of the steps that the expert takes over from --policy.")
    ] = 0.2,
    interventions: Annotated[
        bool,
        typer.Option(
            "--interventions",
            help="Let the expert watch --policy as an operator would: it takes the arm only when "
            "that goes wrong, and only what it does then is learned.",
        ),
    ] = False,
    stills: Annotated[
        int,
        typer.Option(help="Instead of episodes: rendered states per scene, for the eyes."),
    ] = 0,
    lag: Annotated[
        float,
        typer.Option(
            help="Longest time in seconds from an observation to when its chunk is executed, as "
            "inference takes it; drawn for each episode, so that a policy learns to bear it."
        ),
    ] = 0.1,
    one_at_a_time: Annotated[
        bool,
        typer.Option(
            "--one-at-a-time", help="Begin a chunk only when the one before it has come."
        ),
    ] = False,
    language: Annotated[
        Path | None, typer.Option(help="Language encoder for a checkpoint; the shipped one.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Make demonstrations in simulation; run it again to go on where it was stopped.

    A seed is one scene with one instruction. Give every further collection its own seeds. A
    folder takes more episodes of the same kind only: OUTPUT/collection.json keeps the kind. A
    bundle sees rendered images; a checkpoint drives on imagined sightings, ten times as fast.

    vla_ros demonstrate --output data/expert --episodes 4000

    vla_ros demonstrate --output data/stills --episodes 4000 --seed 50000 --stills 4

    vla_ros demonstrate --output data/round1 --episodes 2000 --seed 100000 --policy models/mine
    """
    for name, value in (("image-share", image_share), ("expert-share", expert_share)):
        if not 0.0 <= value <= 1.0:
            raise UserError(f"--{name} is {value}; expected 0 to 1")
    if interventions and policy is None:
        raise UserError("--interventions needs a --policy to watch")
    if policy is not None and not policy.exists():
        raise UserError(f"{policy}: no such bundle or checkpoint")
    if workers < 1 or episodes < 1:
        raise UserError(f"--workers is {workers}, --episodes {episodes}; expected 1 or more")
    if not 0.0 <= lag <= LONGEST_LAG_S:
        raise UserError(f"--lag is {lag}; expected 0 to {LONGEST_LAG_S} s")
    imagines = policy is not None and policy.suffix == ".pt"
    try:
        config = CollectionConfig(
            directory=output,
            episodes=episodes,
            first_seed=seed,
            image_probability=image_share,
            disturbance=disturbance,
            policy=policy,
            language=language_directory(language, output) if imagines else None,
            expert_share=expert_share,
            stills=stills,
            lag_s=lag,
            one_at_a_time=one_at_a_time,
            watched=interventions,
        )
    except ValueError as error:
        raise UserError(f"--seed: {error}") from error
    _collect(config, workers)


def _collect(config: CollectionConfig, workers: int) -> None:
    console = Console(stderr=True, soft_wrap=True)
    missing = missing_episodes(config)
    if missing < config.episodes:
        console.print(
            f"{config.directory} already holds {config.episodes - missing} of {config.episodes} "
            "episodes",
            highlight=False,
        )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[good]} succeeded"),
        TimeRemainingColumn(),
    )
    good = done = 0
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("episodes", total=missing, good=0)
        for played, succeeded in collect(config, workers):
            good, done = good + succeeded, done + played
            progress.update(task, advance=played, good=good)
    Console(soft_wrap=True).print(
        f"{config.directory}: {done} episodes more, {good} of them succeeded", highlight=False
    )
