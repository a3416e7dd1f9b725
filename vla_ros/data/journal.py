"""A file of what is finished, one line each, from which a run that was stopped goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_ros.core.errors import UserError


class Journal:
    """What is finished, by name; every line is on the disk before the next is begun."""

    def __init__(self, path: Path, settings: Mapping[str, object]) -> None:
        """Open the file, or begin it.

        Args:
            path: Of the file; its first line holds the settings.
            settings: What the work is done with, as JSON.

        Raises:
            UserError: if the file was begun with other settings, or is no journal; names it.
        """
        self._path = path
        self._done: dict[str, tuple[str, Any]] = {}
        if path.exists() and path.stat().st_size:
            self._read(json.loads(json.dumps(dict(settings))))
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"settings": dict(settings)}) + "\n", encoding="utf-8")

    def holds(self, name: str, mark: str) -> bool:
        """Return whether `name` is finished, and was the same then: `mark` tells."""
        return name in self._done and self._done[name][0] == mark

    def value(self, name: str) -> Any:
        """Return what came of `name`."""
        return self._done[name][1]

    def add(self, name: str, mark: str, value: object) -> None:
        """Keep what came of `name`; `value` must be JSON."""
        line = json.dumps({"name": name, "mark": mark, "value": value}, ensure_ascii=False)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self._done[name] = (mark, value)

    def _read(self, settings: dict[str, object]) -> None:
        text = self._path.read_text(encoding="utf-8")
        whole, _, torn = text.rpartition("\n")
        if torn:  # the run was stopped while it wrote this line: what it told is done again
            self._path.write_text(whole + "\n" if whole else "", encoding="utf-8")
        try:
            first, *rest = [json.loads(line) for line in whole.splitlines()]
            begun = first["settings"]
            self._done = {item["name"]: (item["mark"], item["value"]) for item in rest}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self._path}: is no journal of a run; name another, or remove it"
            ) from error
        if begun != settings:
            changed = sorted(
                key for key in {*begun, *settings} if begun.get(key, None) != settings.get(key)
            )
            raise UserError(
                f"{self._path}: was begun with another {', '.join(changed)}; give the same "
                "settings, another output, or remove it"
            )
