"""A policy on disk: a directory whose every file is named and hashed in `bundle.json`.

No torch here. No pickle is ever read: weights are safetensors, graphs are ONNX.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vla_ros.core.errors import BundleError

DESCRIPTION = "bundle.json"
#: Weights; the graph that acts; the graph that says what an instruction means in a scene.
WEIGHTS, GRAPH, GROUNDING = "policy.safetensors", "policy.onnx", "grounding.onnx"
LANGUAGE, TOKENIZER = "language.onnx", "tokenizer.json"
FORMAT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What `bundle.json` says, with every file's hash checked.

    Attributes:
        directory: Where the bundle is.
        name: Of the policy.
        policy: Its configuration, as `PolicyConfig.to_dict` gives it.
        contract: The robot contract it was trained under, as plain values.
        training: What it was trained on, and how.
        sha256: Hash of the description, and thereby of everything in the bundle.
        files: SHA-256 by file name.
        export: How its graphs were made of those of another bundle; empty if they were not.
    """

    directory: Path
    name: str
    policy: dict[str, Any]
    contract: dict[str, Any]
    training: dict[str, Any]
    sha256: str
    files: dict[str, str]
    export: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def open(directory: str | Path) -> Bundle:
        """Read a bundle and check every file's hash.

        Raises:
            BundleError: if a file is missing, corrupted or of another format; names it.
        """
        folder = Path(directory)
        description = folder / DESCRIPTION
        if not description.is_file():
            raise BundleError(
                f"{description}: is missing; name a bundle directory such as models/tabletop-small"
            )
        try:
            text = description.read_bytes()
            data = json.loads(text)
            bundle = Bundle(
                directory=folder,
                name=_typed(data, "name", str),
                policy=_typed(data, "policy", dict),
                contract=_typed(data, "contract", dict),
                training=_typed(data, "training", dict),
                sha256=hashlib.sha256(text).hexdigest(),
                files=_typed(data, "files", dict),
                export=_typed({"export": {}, **data}, "export", dict),
            )
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise BundleError(f"{description}: is no bundle description: {error!r}") from error
        if data.get("format") != FORMAT:
            raise BundleError(
                f"{description}: has format {data.get('format')}, this version reads {FORMAT}"
            )
        for name, expected in bundle.files.items():
            path = folder / name
            if not path.is_file():
                raise BundleError(f"{path}: is missing; get the bundle again")
            found = file_sha256(path)
            if found != expected:
                raise BundleError(
                    f"{path}: is corrupted: SHA-256 {found[:12]}…, bundle.json says "
                    f"{str(expected)[:12]}…; get the bundle again"
                )
        return bundle

    def file(self, name: str) -> Path:
        """Return the path of one of the bundle's files.

        Raises:
            BundleError: if the bundle has no such file.
        """
        if name not in self.files:
            raise BundleError(
                f"{self.directory}: has no {name}; `vla_ros export` makes a bundle that runs"
            )
        return self.directory / name


def write_description(
    directory: Path,
    *,
    name: str,
    policy: dict[str, Any],
    contract: dict[str, Any],
    training: dict[str, Any],
    files: tuple[str, ...],
    export: dict[str, Any] | None = None,
) -> Bundle:
    """Hash the files of a directory, write its `bundle.json`, and return the bundle."""
    data = {
        "format": FORMAT,
        "name": name,
        "policy": policy,
        "contract": contract,
        "training": training,
        "files": {file: file_sha256(directory / file) for file in files},
    }
    if export:
        data["export"] = export
    partial = directory / f"{DESCRIPTION}.partial"
    partial.write_text(json.dumps(data, indent=1) + "\n")
    partial.rename(directory / DESCRIPTION)
    return Bundle.open(directory)


def _typed(data: dict[str, Any], key: str, kind: type) -> Any:
    value = data[key]
    if not isinstance(value, kind):
        raise TypeError(f"{key} is a {type(value).__name__}, not a {kind.__name__}")
    return value


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
