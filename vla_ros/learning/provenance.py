"""What a folder of shards or a training run was made with, and whether that is still the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from vla_ros.policy.bundle import LANGUAGE, TOKENIZER, Bundle, file_sha256

_SHA256 = re.compile("[0-9a-f]{64}")


def language_sha256(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a language encoder, by file name."""
    return {name: file_sha256(directory / name) for name in (LANGUAGE, TOKENIZER)}


def policy_sha256(path: Path) -> str:
    """Return the SHA-256 of a bundle, as it is reported at run time, or of a checkpoint.

    Raises:
        BundleError: if a bundle's file is missing or corrupted; names it.
    """
    return Bundle.open(path).sha256 if path.is_dir() else file_sha256(path)


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Return a phrase for each setting that has changed.

    What `before` does not tell, because it was not recorded yet, counts as unchanged.
    """
    return [
        f"{key} is {_shown(value)}, was {_shown(before[key])}"
        for key, value in now.items()
        if key in before and before[key] != value
    ]


def _shown(value: object) -> str:
    if isinstance(value, list):
        return " ".join(str(entry) for entry in value) or "none"
    if isinstance(value, str) and _SHA256.fullmatch(value):
        return f"{value[:12]}…"
    return "none" if value is None else str(value)
