"""Where pretrained weights come from: a local folder or a hub id, read through `transformers`."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from vla_ros.core.errors import UserError


def import_pretrained(name: str) -> ModuleType:
    """Return `transformers` or `peft`, which nothing needs but pretrained models.

    Raises:
        UserError: if it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"pretrained models are read with the Python package '{error.name}', which is not "
            "installed; run `make setup`, or "
            "`pip install --no-deps -r requirements/pretrained.txt`"
        ) from error


def read_config(source: str, setting: str, readable: Collection[str]) -> dict[str, Any]:
    """Return the content of a model's config.json.

    Args:
        source: Folder, or hub id.
        setting: What the user chose it with, for the error.
        readable: The values of `model_type` that can be read.

    Raises:
        UserError: if there is no model, or one of another kind; names both sides.
    """
    kinds = ", ".join(readable)
    folder = Path(source).expanduser()
    is_path = (
        folder.exists()
        or source.startswith((".", "/", "~"))
        or source.count("/") > 1
        or (folder.parent != Path() and folder.parent.is_dir())
    )
    takes = (
        f"{setting} takes a folder with config.json and model.safetensors, or a hub id, of one "
        f"of: {kinds}"
    )
    if is_path and not (folder / "config.json").is_file():
        raise UserError(f"{source}: holds no model, since config.json is missing; {takes}")
    try:
        found = _read_local(folder) if is_path else _read_hub(source)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{source}: no model can be read there: {reason}; {takes}") from error
    if (kind := found.get("model_type")) not in readable:
        raise UserError(
            f"{source}: holds a model of kind {str(kind)!r}, and {setting} reads {kinds}"
        )
    return found


def _read_local(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"config.json holds a {type(content).__name__}, not a model's settings")
    return content


def _read_hub(source: str) -> dict[str, Any]:
    transformers = import_pretrained("transformers")
    with _quiet(transformers):
        content, _ = transformers.PreTrainedConfig.get_config_dict(source)
    return dict(content)


def load_model(source: str, model_class: str, setting: str) -> Any:
    """Return a pretrained model, a torch module in float32, with the weights of its files.

    Raises:
        UserError: if weights are missing or have other shapes than config.json says.
    """
    transformers = import_pretrained("transformers")
    folder = Path(source).expanduser()
    try:
        with _quiet(transformers):
            model, report = getattr(transformers, model_class).from_pretrained(
                str(folder) if folder.exists() else source,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation="eager",  # what exports to ONNX with any sentence's length
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{source}: {setting} cannot load a {model_class} from it: {reason}; weights are read "
            "from safetensors files alone"
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"{source}: {setting} reads a {model_class}, and its weights lack {len(missing)} of "
            f"that, such as {missing[0]}; get the model again"
        )
    return model.eval()


@contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """Keep transformers' reports and progress bars, of which errors here say the essence, away."""
    logger = logging.getLogger("transformers")
    before = logger.level
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
        if bars:
            transformers.utils.logging.enable_progress_bar()
