"""What engines that run in this process have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from vla_ros.engine.engine import Arrays, EngineDescription, EngineOptions, Graph, TensorSpec
from vla_ros.engine.tensors import example_inputs


class LocalEngine(ABC):
    """Says what it is, and warms up; how it infers is up to the library.

    A subclass sets `_inputs` and `_outputs`, and what else it knows, once its graph is loaded.
    """

    #: Name of the backend, without an argument.
    name: ClassVar[str]
    #: Of the library.
    version: ClassVar[str]

    _inputs: tuple[TensorSpec, ...] = ()
    _outputs: tuple[TensorSpec, ...] = ()
    _device: str = "CPU"
    _precision: str = "fp32"
    _notes: Mapping[str, str]

    def __init__(self, graph: Graph, options: EngineOptions) -> None:
        """Keep what was asked for."""
        self._graph, self._argument = graph, options.argument
        self._batch = options.batch or 1
        self._notes = {"threads": str(options.threads)}
        if options.cpus:
            self._notes |= {"cpus": ",".join(str(cpu) for cpu in options.cpus)}

    @property
    def _backend(self) -> str:
        """The backend as it was asked for."""
        return f"{self.name}:{self._argument}" if self._argument else self.name

    def describe(self) -> EngineDescription:
        """Return what runs here."""
        return EngineDescription(
            backend=self._backend,
            version=self.version,
            device=self._device,
            precision=self._precision,
            graph=self._graph.path.name,
            sha256=self._graph.sha256,
            inputs=self._inputs,
            outputs=self._outputs,
            notes=self._notes,
        )

    def warm_up(self) -> None:
        """Infer from zeros: kernels are chosen and memory is taken in the first inferences."""
        for _ in range(2):
            self.infer(example_inputs(self._inputs, self._batch))

    @abstractmethod
    def infer(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the graph's outputs by name; see `Engine`."""
