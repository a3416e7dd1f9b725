"""`vla_ros language`: make the language encoder that policies are trained on and run with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vla_ros.engine.language import LanguageEncoder
from vla_ros.policy.encoders import LANGUAGE_ENCODERS
from vla_ros.policy.language_export import INSTALLED, export_language


def language(
    output: Annotated[Path, typer.Option(help="Folder for the files; made if it is not there.")],
    model: Annotated[
        str,
        typer.Option(
            help="Path or hub id of a model of one of these kinds: "
            f"{', '.join(LANGUAGE_ENCODERS)}. `minilm` alone takes the installed one."
        ),
    ] = INSTALLED,
    float32: Annotated[
        bool, typer.Option("--float32", help="Keep the weights as they are, instead of int8.")
    ] = False,
) -> None:
    """Make language.onnx and tokenizer.json of a pretrained model of sentences.

    The graph is compared with the model before it counts as made. What is trained on it runs with
    it, without torch or transformers. Hub ids need network access.

    vla_ros language --model path/to/clip --output language/clip

    vla_ros train --language language/clip --data data/expert --output runs/clip
    """
    path = export_language(output, model, quantize=not float32)
    encoder = LanguageEncoder(output)
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{output}: '{encoder.kind}' encoder, {encoder.width} features of up to {encoder.tokens} "
        f"tokens, {path.stat().st_size / 2**20:.1f} MiB"
    )
    console.print(f"Train on it: vla_ros train --language {output} ...")
