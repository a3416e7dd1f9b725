"""What benches share that train and evaluate several policies in one folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

#: What runs on the same data compute alike: embedded sentences, and what frozen eyes saw.
CACHES = ("sentences.npz", "questions.npz", "seen.safetensors")


def keep_settings(folder: Path, settings: Mapping[str, object]) -> None:
    """Note what a folder's runs are of; end the program rather than mix them with others."""
    path = folder / "settings.json"
    kept = {name: _plain(value) for name, value in settings.items() if name != "folder"}
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept, indent=2), encoding="utf-8")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    apart = [f"{k} {before.get(k)} and {kept[k]}" for k in kept if before.get(k) != kept[k]]
    if apart:
        sys.exit(f"{path}: runs there have others ({'; '.join(apart)}); take another folder")


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value.resolve())
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def share_caches(source: Path, target: Path) -> None:
    """Link what all runs compute alike, where the target lacks it."""
    for name in CACHES:
        if (source / name).exists() and not (target / name).exists():
            (target / name).hardlink_to(source / name)


def run_vla_ros(arguments: list[str], log: Path) -> None:
    """Run a subcommand, its output into `log`; if it fails, end with its last words."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        done = subprocess.run(
            [sys.executable, "-m", "vla_ros.cli.app", *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        last = "\n".join(log.read_text(encoding="utf-8").splitlines()[-5:])
        sys.exit(f"vla_ros {arguments[0]} failed ({done.returncode}), see {log}:\n{last}")
