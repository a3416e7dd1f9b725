"""Builds the engines of an exported bundle, where its target is a library that has some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_ros.engine.engine import Graph
from vla_ros.engine.exporting.request import ExportRequest
from vla_ros.engine.tensorrt.ahead_of_time import CAPABILITIES, build_ahead
from vla_ros.engine.tensorrt.building import BuiltEngine, build_engine
from vla_ros.engine.tensorrt.library import load_library
from vla_ros.engine.tensorrt.metadata import check_engine
from vla_ros.policy.bundle import GRAPH, GROUNDING

#: Folder of a bundle in which its engines are.
FOLDER = "engines"
LIBRARIES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltFile:
    """An engine file that was built and verified.

    Attributes:
        path: Relative to the bundle.
        graph: Of which it is.
        device: It is for.
        precision: It computes in.
        library: With its version.
        bytes: Its size.
        built_s: Time that took [s].
        sha256: Its hash.
    """

    path: str
    graph: str
    device: str
    precision: str
    library: str
    bytes: int
    built_s: float
    sha256: str


def require_builder(request: ExportRequest) -> None:
    """Refuse if the library that builds the engines is not here.

    Raises:
        EngineError: says how to get it.
    """
    if request.target in LIBRARIES:
        load_library(LIBRARIES[request.target])


def build_engines(
    request: ExportRequest, bundle: Path, say: Callable[[str], None]
) -> tuple[BuiltFile, ...]:
    """Build an engine of every graph, check each as if it were to be loaded, and return them.

    TensorRT RTX builds for GPUs that are not here; TensorRT for the one that is.

    Raises:
        EngineError: if one cannot be built, or is not what its metadata says.
    """
    if request.target not in LIBRARIES:
        return ()
    folder = bundle / FOLDER
    if request.target == "tensorrt-rtx":
        built = build_ahead(
            bundle,
            capabilities=request.capabilities or CAPABILITIES,
            precision=request.precision,
            output=folder,
            most=request.robots,
            progress=say,
        )
    else:
        built = [
            build_engine(
                Graph(path=bundle / name, bundle=bundle),
                library=LIBRARIES[request.target],
                precision=request.precision,
                compute_capability=None,
                output=folder,
                most=request.robots,
                progress=say,
            )
            for name in (GRAPH, GROUNDING)
        ]
    return tuple(_verified(each, bundle) for each in built)


def _verified(built: BuiltEngine, bundle: Path) -> BuiltFile:
    metadata: Any = check_engine(built.path, built.metadata.key)
    return BuiltFile(
        path=str(built.path.relative_to(bundle)),
        graph=metadata.key.graph,
        device=metadata.key.device,
        precision=metadata.key.precision,
        library=f"{metadata.key.library} {metadata.key.version}",
        bytes=metadata.engine_bytes,
        built_s=metadata.built_s,
        sha256=metadata.engine_sha256,
    )
