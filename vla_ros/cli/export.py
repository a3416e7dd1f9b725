"""`vla_ros export`: make a bundle of a training checkpoint, or a faster one of a bundle."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vla_ros.cli.language_files import language_directory
from vla_ros.cli.lerobot_export import export_checkpoint as export_lerobot_checkpoint
from vla_ros.cli.lerobot_export import is_lerobot
from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import UserError
from vla_ros.engine.exporting.precisions import PRECISIONS, TARGETS
from vla_ros.engine.exporting.request import ExportRequest
from vla_ros.engine.exporting.timing import ROUNDS
from vla_ros.learning.checkpoints import (
    policy_from_checkpoint,
    read_checkpoint,
    require_language,
    settings_of,
)
from vla_ros.policy.bundle import LANGUAGE, TOKENIZER, file_sha256
from vla_ros.policy.export import save_pretrained

LANGUAGE_LICENCE = "LANGUAGE_LICENSE.txt"


def export(
    source: Annotated[
        Path,
        typer.Argument(help="A bundle, checkpoint.pt of a training run, or a LeRobot checkpoint."),
    ],
    output: Annotated[
        Path | None,
        typer.Argument(help="Folder to make; for a bundle, SOURCE-PRECISION if not given."),
    ] = None,
    target: Annotated[
        str, typer.Option(help=f"What to make of a bundle: {', '.join(TARGETS)}.")
    ] = "onnx",
    precision: Annotated[
        str, typer.Option(help=f"To compute in: {', '.join(PRECISIONS)}; not all for each target.")
    ] = "fp32",
    calibration: Annotated[
        Path | None,
        typer.Option(help="File of recorded observations; some are recorded if not given."),
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Keep what is recorded in this .npz, for --calibration.")
    ] = None,
    episodes: Annotated[
        int,
        typer.Option(help="To measure success with, before and after; 0 plays nothing at all."),
    ] = 20,
    compute_capability: Annotated[
        str, typer.Option(help="GPUs that tensorrt-rtx builds for, with commas between.")
    ] = "SM86,SM89,SM120",
    robots: Annotated[int, typer.Option(help="An engine serves 1, or up to 32 (a server).")] = 1,
    threads: Annotated[int, typer.Option(help="CPU threads of one inference, to time it.")] = 1,
    rounds: Annotated[
        int, typer.Option(help="Turns of each engine when they are timed.")
    ] = ROUNDS,
    workers: Annotated[int, typer.Option(help="Processes that play episodes.")] = 2,
    name: Annotated[
        str | None, typer.Option(help="Name of a checkpoint's policy; the folder's if not given.")
    ] = None,
    language: Annotated[
        Path | None,
        typer.Option(help="Folder with the language encoder a checkpoint was trained with."),
    ] = None,
) -> None:
    """Make a bundle that runs of a checkpoint, or a bundle in another precision of a bundle.

    A checkpoint becomes weights (safetensors), ONNX graphs, language encoder and hashes; the
    graphs are compared with torch on random inputs.

    vla_ros export runs/mine/checkpoint.pt models/mine --name mine

    A bundle becomes another one with the same weights. Its graphs are simplified, converted, and
    compared with torch on observations that the policy gets in simulation, or on those of
    --calibration; too far from torch, and nothing is written. Then both play the same scenes, and
    what was made is timed against every backend that is installed: the report says which is
    fastest here. int8 and fp8 are calibrated on the same observations.

    vla_ros export models/tabletop-small --precision int8

    vla_ros export models/tabletop-small --precision int8 --episodes 200 --threads 2

    A LeRobot checkpoint, a folder or an id on the Hugging Face hub, becomes graphs that declare
    what they take and give, compared with LeRobot (docs/how-to/lerobot.md).

    vla_ros export outputs/train/act/checkpoints/last/pretrained_model models/act

    Engines for NVIDIA's desktop GPUs are built with no GPU present; --target tensorrt builds on
    the GPU that runs them (data centre, Jetson).

    vla_ros export models/tabletop-small --target tensorrt-rtx --precision fp16

    vla_ros export models/tabletop-small --target tensorrt-rtx --compute-capability SM89
    """
    if is_lerobot(source):
        export_lerobot_checkpoint(source, output, target=target, precision=precision)
        return
    if not source.is_dir():
        if (target, precision) != ("onnx", "fp32"):
            raise UserError(
                f"{source}: a training checkpoint becomes a bundle in fp32; make that first, and "
                f"then `vla_ros export` of it with --target {target} --precision {precision}"
            )
        _export_checkpoint(source, output, name, language)
        return
    if name is not None or language is not None:
        raise UserError(
            "--name and --language are for checkpoints; a bundle has both, and keeps them"
        )
    if episodes < 0 or min(robots, threads, rounds) < 1:
        raise UserError(
            f"--episodes is {episodes}, expected 0 or more; --robots is {robots}, --threads "
            f"{threads} and --rounds {rounds}, expected 1 or more"
        )
    from vla_ros.cli.bundle_export import export_to_bundle  # the simulator starts slowly

    suffix = precision if target == "onnx" else f"{target}-{precision}"
    whole = source.resolve()
    request = ExportRequest(
        source=source,
        output=output or whole.with_name(f"{whole.name}-{suffix}"),
        target=target,
        precision=precision,
        capabilities=tuple(each.strip() for each in compute_capability.split(",") if each.strip()),
        robots=robots,
        threads=threads,
        rounds=rounds,
    )
    export_to_bundle(
        request, calibration=calibration, record=record, episodes=episodes, workers=workers
    )


def _export_checkpoint(
    checkpoint: Path, output: Path | None, name: str | None, language: Path | None
) -> None:
    """Make a bundle of a checkpoint."""
    if not checkpoint.is_file():
        raise UserError(
            f"{checkpoint}: no such file; `vla_ros train` writes checkpoint.pt into its --output"
        )
    if output is None:
        raise UserError(f"name the folder to make: vla_ros export {checkpoint} models/mine")
    source = language_directory(language, output)
    require_language(checkpoint, source)
    bundle = save_pretrained(
        policy_from_checkpoint(checkpoint),
        output,
        name=name or output.resolve().name,
        contract=_contract(checkpoint).to_dict(),
        training=describe_training(checkpoint),
        language=source,
    )
    licence = source / LANGUAGE_LICENCE
    if licence.is_file() and source.resolve() != output.resolve():
        shutil.copyfile(licence, output / LANGUAGE_LICENCE)
    console = Console(highlight=False, soft_wrap=True)
    size = sum((output / file).stat().st_size for file in bundle.files)
    console.print(f"{output}: bundle '{bundle.name}', {size / 2**20:.1f} MiB, {bundle.sha256}")
    console.print(f"Measure it: vla_ros eval --policy {output}")


def _contract(checkpoint: Path) -> RobotContract:
    """Return the contract that a checkpoint was trained under; early ones do not tell."""
    return load_contract(settings_of(read_checkpoint(checkpoint)).get("contract", "tabletop_sim"))


def describe_training(checkpoint: Path) -> dict[str, Any]:
    """Return how a checkpoint came about; folders by their name, since paths mean nothing here.

    `start_sha256` is the `checkpoint_sha256` of the bundle that the earlier round was exported
    to. The language encoder's hashes are left to the bundle's list of files.
    """
    state = read_checkpoint(checkpoint)
    settings = settings_of(state)
    for key in ("output", "language", "contract", "device", "threads", LANGUAGE, TOKENIZER):
        settings.pop(key, None)
    for key in ("data", "eyes_only", "recordings"):
        settings[key] = [Path(folder).name for folder in settings.get(key, ())]
    for key in ("start", "teacher"):
        if settings.get(key):
            settings[key] = "/".join(Path(settings[key]).parts[-2:])
    return {**settings, "step": state["step"], "checkpoint_sha256": file_sha256(checkpoint)}
