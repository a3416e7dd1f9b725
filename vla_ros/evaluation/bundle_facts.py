"""What results say about the policy that was evaluated, so that they can be compared."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from vla_ros.core.errors import BundleError
from vla_ros.policy.bundle import WEIGHTS, Bundle


def bundle_facts(directory: Path) -> dict[str, Any]:
    """Return how a bundle's policy mixes its senses, how it decides, and how many weights it has.

    Raises:
        BundleError: if the bundle cannot be used; names the file.
    """
    bundle = Bundle.open(directory)
    return {
        "fusion": bundle.policy.get("fusion", ""),
        "head": bundle.policy.get("head", "l1"),
        "parameters": count_weights(bundle.file(WEIGHTS)),
    }


def count_weights(file: Path) -> int:
    """Return how many numbers a safetensors file holds, by its header alone.

    Raises:
        BundleError: if it has none.
    """
    try:
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(size))
        return sum(math.prod(of["shape"]) for name, of in header.items() if name != "__metadata__")
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise BundleError(f"{file}: is no safetensors file: {error!r}") from error
