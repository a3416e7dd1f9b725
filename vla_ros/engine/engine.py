"""What an engine is: one graph, ready to run, on one backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from vla_ros.policy.bundle import file_sha256

#: Arrays by the names of a graph's inputs or outputs.
Arrays = Mapping[str, NDArray[Any]]

#: Name of the first dimension of graphs that serve several robots at once.
BATCH = "batch"
#: Robots that an engine which is built for an open batch serves at most.
LARGEST_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A graph on disk.

    Attributes:
        path: Its ONNX file.
        bundle: The bundle that it belongs to, with its weights; None for a file of its own.
    """

    path: Path
    bundle: Path | None = None

    @cached_property
    def sha256(self) -> str:
        """Hash of the file: engines that were built from another one are not used."""
        return file_sha256(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How a graph is to be run.

    Attributes:
        argument: What follows the colon in `backend:argument`; means what the backend says.
        threads: CPU threads that one inference may use.
        cpus: CPUs that it is kept on, numbered from 0; none: any.
        batch: Robots that every inference serves; None leaves it open.
        cache: Folder in which built engines are kept; None for the user's cache.
        backed: Whether others stand in while it brings nothing: a server need not be there yet.
        progress: Called with what is being done, where that takes long.
    """

    argument: str = ""
    threads: int = 1
    cpus: tuple[int, ...] = ()
    batch: int | None = 1
    cache: Path | None = None
    backed: bool = False
    progress: Callable[[str], None] = field(default=lambda text: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """An input or output of a graph.

    Attributes:
        name: Of the tensor.
        dtype: Its numpy type, by name.
        shape: Lengths; a text names one that is open.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDescription:
    """What runs a graph, where, and how exactly: what a report says beside its numbers.

    Attributes:
        backend: Name of the backend, as it was asked for.
        version: Of its library.
        device: What it runs on, as a person would call it.
        precision: What most of it computes in: fp32, fp16, bf16, int8, fp8.
        graph: File name of the graph.
        sha256: Of the graph's file.
        inputs: What it takes.
        outputs: What it gives.
        notes: What else is worth knowing, by name.
    """

    backend: str
    version: str
    device: str
    precision: str
    graph: str
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    notes: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Engine(Protocol):
    """A loaded graph. One inference at a time: it is not thread-safe.

    A backend is a function `load(graph, options)` that returns one, or raises `EngineError`: what
    was asked for is run as it was asked for, or not at all.
    """

    def describe(self) -> EngineDescription:
        """Return what runs here; called at any time, from any thread, and cheap."""
        ...

    def warm_up(self) -> None:
        """Do what only the first inferences have to do; called once, before a robot may move.

        Raises:
            InferenceFailed: if not even that works.
        """
        ...

    def infer(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the graph's outputs by name; they are good until the next call.

        Args:
            inputs: All of the graph's inputs; what else is in it is left alone.
            outputs: Names of those that are wanted; None for all.

        Raises:
            ValueError: if an input is missing, or has another shape or type; names it.
            InferenceFailed: if this inference brought nothing.
        """
        ...

    def close(self) -> None:
        """Free what is held; called once, and nothing is called after it."""
        ...


#: Makes an engine of a graph.
Load = Callable[[Graph, EngineOptions], Engine]
