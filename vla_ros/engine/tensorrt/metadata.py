"""What is written beside every engine file: of what it was built, for what, and by what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vla_ros.core.errors import EngineError
from vla_ros.engine.engine import TensorSpec
from vla_ros.engine.tensorrt.files import replace_file
from vla_ros.engine.tensorrt.plan import read_header
from vla_ros.policy.bundle import file_sha256

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8")
FORMAT = 1
SUFFIX = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKey:
    """All that an engine depends on: with one of these different, it is another engine.

    Attributes:
        graph: File name of the graph, without its suffix.
        graph_sha256: Hash of the graph's file.
        library: `tensorrt` or `tensorrt_rtx`.
        version: Of the library.
        device: What it runs on: a compute capability such as SM86; with TensorRT, whose engines
            hold kernels that were timed on one GPU, also that GPU's name.
        precision: What it computes in: fp32, fp16, bf16, int8, fp8.
        fewest: Robots that an inference serves at least.
        most: Robots that an inference serves at most; equal to `fewest` where the number is fixed.
    """

    graph: str
    graph_sha256: str
    library: str
    version: str
    device: str
    precision: str
    fewest: int = 1
    most: int = 1

    @property
    def file_name(self) -> str:
        """Name of the engine file, the same for everybody who builds this engine."""
        robots = f"b{self.most}" if self.fewest == self.most else f"b{self.fewest}-{self.most}"
        device = "".join(c if c.isalnum() else "_" for c in self.device)
        return (
            f"{self.graph}-{self.graph_sha256[:12]}.{self.library}-{self.version}"
            f".{device}.{self.precision}.{robots}.engine"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineMetadata:
    """What is known of an engine file.

    Attributes:
        key: What the engine depends on.
        bundle_sha256: Hash of the bundle's description; empty for a graph of its own.
        engine_sha256: Hash of the engine file.
        engine_bytes: Its length.
        inputs: What it takes; the name of an open dimension is a text.
        outputs: What it gives.
        built_s: Time that building took [s].
        notes: What else is worth knowing, by name.
    """

    key: EngineKey
    bundle_sha256: str
    engine_sha256: str
    engine_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    built_s: float
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def profile(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        """Smallest and largest shape by the name of the input."""
        key = self.key
        return {
            spec.name: tuple(
                tuple(size if isinstance(size, int) else robots for size in spec.shape)
                for robots in (key.fewest, key.most)
            )
            for spec in self.inputs
        }

    def write(self, engine: Path) -> None:
        """Write the file beside `engine`; the profile is in it for people who read it."""
        data = asdict(self) | {"format": FORMAT, "profile": self.profile}
        text = json.dumps(data, indent=1) + "\n"
        replace_file(engine.with_name(engine.name + SUFFIX), text.encode())


def read_metadata(engine: Path) -> EngineMetadata:
    """Read what is written beside an engine file.

    Raises:
        EngineError: if it is missing or malformed; names it.
    """
    path = engine.with_name(engine.name + SUFFIX)
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']}, this version reads {FORMAT}")
        return EngineMetadata(
            key=EngineKey(**data["key"]),
            bundle_sha256=str(data["bundle_sha256"]),
            engine_sha256=str(data["engine_sha256"]),
            engine_bytes=int(data["engine_bytes"]),
            inputs=_specs(data["inputs"]),
            outputs=_specs(data["outputs"]),
            built_s=float(data["built_s"]),
            notes={str(name): str(text) for name, text in data["notes"].items()},
        )
    except FileNotFoundError as error:
        raise EngineError(f"{path}: is missing: nobody knows what {engine.name} is") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{path}: says nothing of an engine: {error!r}") from error


def check_engine(engine: Path, key: EngineKey) -> EngineMetadata:
    """Return what is known of an engine file that is exactly the one wanted.

    Raises:
        EngineError: if the file is missing, truncated, changed, or another engine; says how.
    """
    if not engine.is_file():
        raise EngineError(f"{engine}: has not been built yet")
    metadata = read_metadata(engine)
    wanted, found = asdict(key), asdict(metadata.key)
    for name, value in wanted.items():
        if found[name] != value:
            raise EngineError(
                f"{engine}: was built with {name} {found[name]}, wanted is {value}; it is not used"
            )
    size = engine.stat().st_size
    if size != metadata.engine_bytes:
        raise EngineError(
            f"{engine}: has {size} bytes instead of {metadata.engine_bytes}: it is truncated or "
            "another file"
        )
    found_sha = file_sha256(engine)
    if found_sha != metadata.engine_sha256:
        raise EngineError(
            f"{engine}: was changed: SHA-256 {found_sha[:12]}…, "
            f"{metadata.engine_sha256[:12]}… when it was built"
        )
    check_header(engine, key)
    return metadata


def check_header(engine: Path, key: EngineKey) -> None:
    """Check the first bytes of an engine file, where their layout is known.

    Raises:
        EngineError: if they contradict the key; says how.
    """
    header = read_header(engine)
    if header is None:
        return
    size = engine.stat().st_size
    if header.length != size:
        raise EngineError(f"{engine}: its header says {header.length} bytes, it has {size}")
    if header.version != key.version:
        raise EngineError(f"{engine}: was built by version {header.version}, not by {key.version}")
    if header.capabilities and key.device.startswith("SM"):
        capability = key.device.split()[0]
        if capability not in header.capabilities:
            raise EngineError(
                f"{engine}: is for {', '.join(header.capabilities)}, not for {capability}"
            )


def _specs(data: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=item["name"], dtype=item["dtype"], shape=tuple(item["shape"]))
        for item in data
    )
