"""Makes graphs with a declared signature of a LeRobot checkpoint, and compares them with it."""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from vla_ros.core.errors import EngineError, UserError
from vla_ros.engine.lerobot_checkpoint import LeRobotCheckpoint, load_checkpoint
from vla_ros.engine.lerobot_export.parity import Apart, compare
from vla_ros.engine.lerobot_export.processing import Processing, probe_processors
from vla_ros.engine.lerobot_features import input_names
from vla_ros.engine.signature import SIGNATURE, Signature
from vla_ros.engine.signature_reading import read_signature

#: Writes the graphs of a checkpoint into a folder, and returns their signature.
Write = Callable[[LeRobotCheckpoint, Processing, Path], dict[str, Any]]

#: What writes the graphs of each kind of policy; others run through LeRobot.
WRITERS = {
    "act": "vla_ros.engine.lerobot_export.act:write_act",
    "smolvla": "vla_ros.engine.lerobot_export.smolvla:write_smolvla",
}
#: How far the actions of the graphs may be from LeRobot's, as a share of the largest if above 1.
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class LeRobotExport:
    """What was made of a checkpoint.

    Attributes:
        signature: The signature that was written.
        apart: How far each tensor is from what LeRobot computes, the worst first.
    """

    signature: Signature
    apart: tuple[Apart, ...]


def export_lerobot(
    source: str, output: Path, *, progress: Callable[[str], None] = lambda text: None
) -> LeRobotExport:
    """Write a checkpoint as graphs that every engine runs.

    Nothing is left in `output` of an export that fails.

    Args:
        source: Directory of a checkpoint, or its id on the Hugging Face hub.
        output: Folder to make.
        progress: Called with what is being done.

    Raises:
        UserError: if `output` holds something already.
        BundleError: if LeRobot cannot load the checkpoint.
        EngineError: if it cannot be exported, or what was written is not what LeRobot computes;
            names the worst tensor.
    """
    if output.exists() and any(output.iterdir()):
        raise UserError(f"{output}: is there and not empty; name another folder")
    progress(f"loading {source}")
    checkpoint = load_checkpoint(source, device="cpu")
    write = _writer(checkpoint)
    processing = probe_processors(checkpoint)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as aside:
        folder = Path(aside) / output.name
        folder.mkdir()
        reference = load_checkpoint(source, device="cpu")  # `write` changes layers
        reference.policy.float()
        progress(f"writing the graphs of {checkpoint.config.type}")
        values = {
            "name": output.name,
            **_known(checkpoint),
            **write(checkpoint, processing, folder),
        }
        text = yaml.safe_dump(values, sort_keys=False, width=99)
        (folder / SIGNATURE).write_text(text, encoding="utf-8")
        progress("comparing them with LeRobot")
        apart = compare(read_signature(folder), reference, TOLERANCE)
        if output.exists():
            output.rmdir()
        shutil.move(folder, output)
    return LeRobotExport(signature=read_signature(output), apart=apart)


def _writer(checkpoint: LeRobotCheckpoint) -> Write:
    kind = checkpoint.config.type
    if kind not in WRITERS:
        raise EngineError(
            f"{checkpoint.source}: policies of the kind '{kind}' are not exported, only "
            f"{', '.join(WRITERS)}; run it with --backend lerobot"
        )
    module, _, attribute = WRITERS[kind].partition(":")
    return cast(Write, getattr(importlib.import_module(module), attribute))


def _known(checkpoint: LeRobotCheckpoint) -> dict[str, Any]:
    """Return what a checkpoint's dataset says of the actions."""
    known: dict[str, Any] = {}
    if checkpoint.fps:
        known["step_s"] = 1.0 / checkpoint.fps
    if checkpoint.joints:
        known["joints"] = list(checkpoint.joints)
    if not input_names(checkpoint):
        raise EngineError(f"{checkpoint.source}: it takes no input")
    return known
