"""Where engines are kept that take long to build."""

from __future__ import annotations

import os
from pathlib import Path

from vla_ros.core.errors import EngineError
from vla_ros.engine.engine import EngineOptions


def cache_folder(options: EngineOptions, backend: str) -> Path:
    """Return the folder of a backend's engines, made if it is not there.

    It is in `options.cache`, or else where the user's caches are: `$XDG_CACHE_HOME`, `~/.cache`.

    Raises:
        EngineError: if it cannot be made.
    """
    base = options.cache
    if base is None:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        base = Path(caches) / "vla_ros" / "engines"
    folder = base / backend
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(
            f"{folder}: built engines cannot be kept there: {error}; name another place by "
            "XDG_CACHE_HOME"
        ) from error
    return folder
