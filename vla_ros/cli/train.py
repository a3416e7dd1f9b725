"""`vla_ros train`: train a policy from demonstrations."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from vla_ros.cli.language_files import language_directory
from vla_ros.cli.training_progress import INTERRUPTED, train_here, train_in_group
from vla_ros.core.errors import UserError
from vla_ros.learning.process_group import require_devices, started_processes
from vla_ros.learning.process_launch import KILLED, run_processes
from vla_ros.learning.run_config import RunChoices
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.encoders import DEPTH_ENCODERS, IMAGE_ENCODERS, IMU_ENCODERS
from vla_ros.policy.encoders.pretrained_image import TUNINGS
from vla_ros.policy.fusion import FUSIONS
from vla_ros.policy.heads import HEADS


def _usual(what: str, name: str) -> str:
    """Return a help text with the default of a setting, which an option not given leaves alone."""
    defaults = {
        of.name: of.default for kind in (TrainingConfig, PolicyConfig) for of in fields(kind)
    }
    return escape(f"{what} [default: {defaults[name]}]")


def train(
    config: Annotated[
        str | None,
        typer.Option(help="YAML file with the whole run, or the name of a shipped one."),
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="Folder of shards; may be given repeatedly.")
    ] = None,
    recordings: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of recorded episodes, or a LeRobotDataset, to imitate; repeatedly. With "
            "--data beside it, or alone."
        ),
    ] = None,
    intervention_weight: Annotated[
        float | None,
        typer.Option(
            help=_usual(
                "Of what an operator did who took over from a policy.", "intervention_weight"
            )
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Where checkpoint and losses go.")] = None,
    steps: Annotated[
        int | None, typer.Option(help=_usual("Optimizer steps in all.", "steps"))
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(help=_usual("Rendered states per step; 0 trains the hand alone.", "images")),
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(
            help=_usual("Episodes of bare states per step; 0 trains the eyes alone.", "episodes")
        ),
    ] = None,
    states_per_episode: Annotated[
        int | None, typer.Option(help=_usual("Bare states per episode.", "states_per_episode"))
    ] = None,
    sentences: Annotated[
        int | None,
        typer.Option(help=_usual("Sentences that instructions are drawn from.", "sentences")),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help=_usual("At its peak.", "learning_rate"))
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="checkpoint.pt or bundle to take the first weights from.")
    ] = None,
    start_partly: Annotated[
        bool | None, typer.Option(help="Take what fits of --start although not all does.")
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option(
            help="Part of the policy that stays as it is, repeatedly: vision, regions, language, "
            "grounder, fusion, head, or a part of one, such as grounder.read."
        ),
    ] = None,
    lora_rank: Annotated[
        int | None,
        typer.Option(help=_usual("Rank of adapters that alone train; 0: all does.", "lora_rank")),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Bundle whose answers are learned beside --data.")
    ] = None,
    fusion: Annotated[
        str | None,
        typer.Option(help=_usual(f"How modalities are mixed: {', '.join(FUSIONS)}.", "fusion")),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help=_usual(f"How chunks are decided: {', '.join(HEADS)}.", "head")),
    ] = None,
    image_encoder: Annotated[
        str | None,
        typer.Option(help=_usual(f"Reads images: {', '.join(IMAGE_ENCODERS)}.", "image_encoder")),
    ] = None,
    image_weights: Annotated[
        str | None,
        typer.Option(
            help="CLIP, SigLIP or DINOv2 by path or hub id, for --image-encoder pretrained."
        ),
    ] = None,
    image_tuning: Annotated[
        str | None,
        typer.Option(help=_usual(f"What of that trains: {', '.join(TUNINGS)}.", "image_tuning")),
    ] = None,
    depth_encoder: Annotated[
        str | None,
        typer.Option(help=_usual(f"Reads depth: {', '.join(DEPTH_ENCODERS)}.", "depth_encoder")),
    ] = None,
    imu_encoder: Annotated[
        str | None,
        typer.Option(help=_usual(f"Reads the IMU: {', '.join(IMU_ENCODERS)}.", "imu_encoder")),
    ] = None,
    eyes_only: Annotated[
        list[Path] | None, typer.Option(help="Folder whose images train the eyes alone.")
    ] = None,
    language: Annotated[
        Path | None,
        typer.Option(
            help="Folder that `vla_ros language` made; the shipped encoder if not given."
        ),
    ] = None,
    contract: Annotated[
        str | None,
        typer.Option(help=_usual("Robot that it is for: a name, or a YAML file.", "contract")),
    ] = None,
    seed: Annotated[int | None, typer.Option(help=_usual("Of everything random.", "seed"))] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(help=_usual("Steps between checkpoints.", "checkpoint_every"))
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help=_usual("Of torch; 0 takes all cores.", "threads"))
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help=_usual("That train together on this machine.", "processes"))
    ] = None,
    device: Annotated[
        str | None, typer.Option(help=_usual("cpu, or auto for a GPU if there is one.", "device"))
    ] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.FIELD=VALUE",
            help="Any other setting, like training.masked=0; see docs/reference/config.md.",
        ),
    ] = None,
) -> None:
    """Train the policy of models/tabletop-small from demonstrations.

    Run the same command again to go on from the last checkpoint; Ctrl-C saves one first. Only
    --steps, --checkpoint-every, --threads and --device may change then; for all else, give
    another --output. OUTPUT/losses.jsonl has the losses of every 20th step, OUTPUT/losses.png
    shows them, and OUTPUT/config.yaml is the --config that does it all again.

    vla_ros train --data data/expert --output runs/mine

    vla_ros train --data data/expert --data data/round1 --output runs/round1
    --start runs/mine/checkpoint.pt --steps 4000

    vla_ros train --recordings recordings --start models/tabletop-small --output runs/taught

    vla_ros train --config tabletop-small --fusion projector --output runs/projector

    vla_ros train --data data/mine --output runs/mine --start models/tabletop-small --lora-rank 8

    vla_ros train --data data/expert --output runs/small --teacher models/tabletop-small
    --set policy.width=64

    vla_ros export runs/mine/checkpoint.pt models/mine
    """
    given = {name: value for name, value in locals().items() if value not in (None, [])}
    run = _choices(given).run(
        lambda chosen, output: language_directory(chosen, output / "language")
    )
    count, started = run.training.processes, started_processes()
    if started is None and count > 1:
        require_devices(count, run.training.device)
        status = run_processes(count, train_in_group, run)
        if status > INTERRUPTED:
            raise UserError(
                f"a process was killed (signal {status - KILLED}); each of the {count} holds all "
                "demonstrations: is there enough memory?"
            )
    else:
        status = train_here(run) if started is None else train_in_group(run)
    raise typer.Exit(status)


def _choices(given: dict[str, Any]) -> RunChoices:
    """Return what the options choose, over what --set and the --config file do."""
    policy, training = (
        {
            of.name: tuple(value) if isinstance(value, list) else value
            for of in fields(kind)
            if (value := given.get(of.name)) is not None
        }
        for kind in (PolicyConfig, TrainingConfig)
    )
    options = RunChoices(policy=policy, training=training)
    chosen = options.over(RunChoices.parse(given.get("assign", [])))
    if "config" in given:
        chosen = chosen.over(RunChoices.read(given["config"]))
    if "processes" not in chosen.training:
        chosen.training["processes"] = started_processes() or 1
    return chosen
