"""`vla_ros data augment`: more demonstrations from those that there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vla_ros.cli.editing_options import say
from vla_ros.core.errors import UserError
from vla_ros.data.storage import episode_sources
from vla_ros.data.tools.derivation import Derive, derive_recording

if TYPE_CHECKING:
    from vla_ros.sim.instructions import PhrasingBook

augment = typer.Typer(
    help="Make more demonstrations: in other words, in other looks, for what was done instead.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

Recording = Annotated[str, typer.Argument(help="Folder or URL of a recording; stays as it is.")]
Output = Annotated[Path, typer.Argument(help="Folder of the new recording, of the new episodes.")]
Variants = Annotated[int, typer.Option(help="New episodes per episode.", min=1)]
Seed = Annotated[int, typer.Option(help="Of every random choice.")]
Workers = Annotated[int, typer.Option(help="Processes; 0 for one per core.", min=0)]
RayAddress = Annotated[
    str | None,
    typer.Option(help="Work on a Ray cluster: its address, or `local` to start one here."),
]


@augment.command()
def instructions(
    recording: Recording,
    output: Output,
    variants: Variants = 3,
    templates: Annotated[
        Path | None, typer.Option(help="Phrasing file (YAML); the shipped grammar without it.")
    ] = None,
    endpoint: Annotated[
        str, typer.Option(help="Ask a language model: address of an OpenAI-compatible server.")
    ] = "",
    model: Annotated[str, typer.Option(help="Name of the model on that server.")] = "",
    key_variable: Annotated[
        str, typer.Option(help="Variable of the environment that holds the server's key.")
    ] = "OPENAI_API_KEY",
    seed: Seed = 0,
    workers: Workers = 0,
    ray_address: RayAddress = None,
) -> None:
    """Tell the same demonstrations in other words. What is read to mean something else is dropped.

    vla_ros data augment instructions recordings told --variants 5

    vla_ros data augment instructions recordings told --endpoint http://localhost:8000/v1 --model m
    """
    from vla_ros.learning.augmentation.paraphrase import (
        ModelParaphraser,
        Paraphraser,
        TemplateParaphraser,
    )
    from vla_ros.learning.augmentation.relabelling import Relabelling
    from vla_ros.planner.language_backend import ChatEndpoint

    paraphraser: Paraphraser
    if endpoint:
        if templates is not None or not model:
            raise UserError("--endpoint needs --model, and goes without --templates")
        backend = ChatEndpoint(base_url=endpoint, model=model, key_variable=key_variable)
        paraphraser = ModelParaphraser(backend=backend)
    else:
        paraphraser = TemplateParaphraser(book=_book(templates))
    relabelling = Relabelling(paraphraser=paraphraser, variants=variants, seed=seed)
    source = str(templates) if templates else f"{endpoint} {model}".strip()
    settings = {"command": "instructions", "words": source, "variants": variants, "seed": seed}
    _derive(relabelling, recording, output, settings, workers, ray_address)


@augment.command()
def replay(
    recording: Recording,
    output: Output,
    variants: Variants = 1,
    change: Annotated[
        str, typer.Option(help="What is drawn anew, with commas: camera, light, texture.")
    ] = "camera,light,texture",
    camera_scale: Annotated[
        float, typer.Option(help="Times 8 mm and 0.8 degrees that cameras are moved by.", min=0.0)
    ] = 1.0,
    seed: Seed = 0,
    workers: Workers = 0,
    ray_address: RayAddress = None,
) -> None:
    """Replay simulated demonstrations before other cameras, in other light, on other tables.

    vla_ros data augment replay recordings looks --variants 4 --change light,texture
    """
    from vla_ros.learning.augmentation.other_looks import Look
    from vla_ros.learning.augmentation.replaying import Replaying

    names = [name.strip() for name in change.split(",") if name.strip()]
    if not names or set(names) - set(Look):
        raise UserError(f"--change is {change!r}; expected some of {', '.join(Look)}")
    looks = tuple(sorted({Look(name) for name in names}))
    replaying = Replaying(looks=looks, variants=variants, seed=seed, camera_scale=camera_scale)
    settings = {
        "command": "replay",
        "change": list(looks),
        "variants": variants,
        "camera-scale": camera_scale,
        "seed": seed,
    }
    _derive(replaying, recording, output, settings, workers, ray_address)


@augment.command()
def hindsight(
    recording: Recording,
    output: Output,
    reach: Annotated[
        bool, typer.Option(help="Let merely reaching something count as a task done.")
    ] = False,
    templates: Annotated[
        Path | None, typer.Option(help="Phrasing file (YAML); the shipped grammar without it.")
    ] = None,
    seed: Seed = 0,
    workers: Workers = 0,
    ray_address: RayAddress = None,
) -> None:
    """Tell failed demonstrations what they did: by the simulator's judge, or a label `did: ...`.

    vla_ros data augment hindsight recordings did
    """
    from vla_ros.learning.augmentation.hindsight import Hindsight

    derive = Hindsight(book=_book(templates), seed=seed, reach=reach)
    settings = {"command": "hindsight", "reach": reach, "words": str(templates), "seed": seed}
    _derive(derive, recording, output, settings, workers, ray_address)


def _book(templates: Path | None) -> PhrasingBook:
    from vla_ros.sim.instructions import PhrasingBook

    if templates is None:
        return PhrasingBook.for_split("train")
    return PhrasingBook.from_phrasings(templates)


def _derive(
    derive: Derive,
    recording: str,
    output: Path,
    settings: dict[str, object],
    workers: int,
    ray_address: str | None,
) -> None:
    """Make the recording, with a bar; exit with 1 if something could not be made."""
    sources = episode_sources(recording)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[made]} made"),
        TimeRemainingColumn(),
    )
    made = resumed = 0
    notes: list[str] = []
    errors: list[str] = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("episodes", total=len(sources), made=0)
        for result in derive_recording(
            derive,
            sources,
            output,
            settings=settings | {"recording": recording},
            workers=workers,
            ray_address=ray_address,
        ):
            resumed += result.resumed
            if result.value is not None:
                made += len(result.value.episodes)
                notes += result.value.notes
            else:
                errors.append(f"{result.source}: {result.error}")
            progress.update(task, advance=1, made=made)
    for line in [*notes, *errors]:
        say(line)
    before = f" ({resumed} of the sources were done before)" if resumed else ""
    say(f"{output}: {made} episodes made of {len(sources)}{before}; {len(errors)} failed")
    if errors:
        raise typer.Exit(1)
