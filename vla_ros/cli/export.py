"""`vla_ros export`: make a bundle that runs of a training checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vla_ros.cli.language_files import language_directory
from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import UserError
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
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint.pt of a training run.")],
    output: Annotated[Path, typer.Argument(help="The bundle's folder; made if it is not there.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the policy; the folder's name if not given.")
    ] = None,
    language: Annotated[
        Path | None,
        typer.Option(help="Folder with the language encoder it was trained with; shipped one."),
    ] = None,
) -> None:
    """Make a bundle of a checkpoint: weights (safetensors), ONNX graph, language encoder, hashes.

    The graph is compared with torch on random inputs before the bundle counts as made.

    vla_ros export runs/mine/checkpoint.pt models/mine --name mine
    """
    if not checkpoint.is_file():
        raise UserError(
            f"{checkpoint}: no such file; `vla_ros train` writes checkpoint.pt into its --output"
        )
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
    for key in ("data", "eyes_only"):
        settings[key] = [Path(folder).name for folder in settings.get(key, ())]
    for key in ("start", "teacher"):
        if settings.get(key):
            settings[key] = "/".join(Path(settings[key]).parts[-2:])
    return {**settings, "step": state["step"], "checkpoint_sha256": file_sha256(checkpoint)}
