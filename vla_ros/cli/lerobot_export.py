"""`vla_ros export` of a LeRobot checkpoint."""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console

from vla_ros.core.errors import UserError
from vla_ros.engine.opening import kind_of

#: How the Hugging Face hub calls a model.
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def is_lerobot(source: Path) -> bool:
    """Return whether a source is a LeRobot checkpoint, here or on the Hugging Face hub."""
    if source.exists():
        return kind_of(str(source)) == "lerobot"
    return source.suffix != ".pt" and _HUB_ID.fullmatch(str(source)) is not None


def export_checkpoint(source: Path, output: Path | None, *, target: str, precision: str) -> None:
    """Write the graphs of a LeRobot checkpoint and print how far they are from LeRobot.

    Raises:
        UserError: if another target or precision is wanted, or it cannot be exported; says why.
    """
    if (target, precision) != ("onnx", "fp32"):
        raise UserError(
            f"--target {target} --precision {precision}: LeRobot checkpoints become ONNX in fp32; "
            "lower precisions are the engine's, for example --backend openvino:bf16"
        )
    if output is None:
        raise UserError(f"name the folder to make: vla_ros export {source} models/mine")
    from vla_ros.engine.lerobot_export import export_lerobot  # torch starts slowly

    console = Console(highlight=False, soft_wrap=True)
    made = export_lerobot(str(source), output, progress=lambda text: console.print(f"{text} ..."))
    worst = made.apart[0]
    files = ", ".join(
        f"{file.name} {file.stat().st_size / 2**20:.1f} MiB" for file in made.signature.files
    )
    console.print(f"{output}: {files}")
    console.print(
        f"worst tensor {worst.tensor}: {worst.largest:.1e} from LeRobot's, of {worst.scale:.3g}",
        markup=False,
    )
