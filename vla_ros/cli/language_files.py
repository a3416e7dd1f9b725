"""Where a training command takes the language encoder from."""

from __future__ import annotations

from pathlib import Path

from vla_ros.core.errors import UserError
from vla_ros.core.resources import ResourceNotFound, resource_path
from vla_ros.policy.bundle import LANGUAGE, TOKENIZER


def language_directory(chosen: Path | None, fallback: Path) -> Path:
    """Return a folder with the language encoder's files.

    Args:
        chosen: What the user named; None takes the shipped bundle's encoder.
        fallback: Where an encoder is made if there is no shipped one.

    Raises:
        UserError: if the chosen folder lacks a file; names it.
    """
    if chosen is not None:
        for name in (LANGUAGE, TOKENIZER):
            if not (chosen / name).is_file():
                raise UserError(
                    f"{chosen / name}: is missing; --language takes a folder that holds "
                    f"{LANGUAGE} and {TOKENIZER}, such as models/tabletop-small"
                )
        return chosen
    try:
        return resource_path(f"models/tabletop-small/{LANGUAGE}").parent
    except ResourceNotFound:
        from vla_ros.policy.language_export import export_language  # torch and onnx start slowly

        return export_language(fallback).parent
