"""`vla_ros patch`: make the adversarial patch that `vla_ros eval --disturb` pastes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path
from vla_ros.engine.language import LanguageEncoder
from vla_ros.learning.adversarial_patch import (
    Patch,
    PatchConfig,
    make_patch,
    render_states,
)
from vla_ros.learning.checkpoints import policy_from_checkpoint
from vla_ros.policy.bundle import Bundle

DEFAULTS = PatchConfig()


def patch(
    output: Annotated[
        Path,
        typer.Argument(
            help="The PNG; its twin of random dots, which attacks nothing, needs no file."
        ),
    ],
    policy: Annotated[
        Path | None, typer.Option(help="The bundle; models/tabletop-small if none is named.")
    ] = None,
    size: Annotated[int, typer.Option(help="Width and height in px.")] = DEFAULTS.size_px,
    scenes: Annotated[
        int, typer.Option(help="Training scenes to render; every fifth only tests the patch.")
    ] = DEFAULTS.scenes,
    seed: Annotated[int, typer.Option(help="Seed of the first scene.")] = DEFAULTS.first_seed,
    steps: Annotated[int, typer.Option(help="Of gradient ascent.")] = DEFAULTS.steps,
    threads: Annotated[int, typer.Option(help="Of torch.")] = 1,
) -> None:
    """Make a picture that a policy takes for what it is told to look for (Brown et al. 2017).

    It is optimized against the bundle's weights on rendered training scenes. At the end it is
    compared, in scenes that it was not made with, with random colours of its size.

    vla_ros patch out/mine.png --policy models/mine

    vla_ros eval --policy models/mine --disturb adversarial_patch --patch out/mine.png
    """
    if output.suffix.lower() != ".png":
        raise UserError(f"{output}: expected the name of a .png")
    config = PatchConfig(size_px=size, scenes=scenes, first_seed=seed, steps=steps)
    bundle = Bundle.open(policy or resource_path("models/tabletop-small"))
    torch.set_num_threads(threads)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    made = _make(bundle, config, console)
    made.save(output, bundle.sha256)
    console.print(
        f"{output}: moves the commands by {made.moved_rad:.4f} rad on average, random colours of "
        f"its size by {made.control_rad:.4f} rad"
    )


def _make(bundle: Bundle, config: PatchConfig, console: Console) -> Patch:
    network = policy_from_checkpoint(bundle.directory).requires_grad_(False)
    console.print(f"rendering {config.scenes} training scenes")
    states = render_states(config, LanguageEncoder(bundle.directory))
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=config.steps)

        def on_step(step: int, taken: float) -> None:
            description = f"taken for the object with probability {taken:.2f}"
            progress.update(task, completed=step, description=description)

        return make_patch(network, states, config, on_step)
