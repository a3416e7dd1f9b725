"""Times another engine, so that what is not the model can be told from what is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vla_ros.engine.engine import Arrays, Engine, EngineDescription


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCall:
    """One inference of an engine.

    Attributes:
        graph: File name of the graph.
        began_ns: When it was asked, on the engine's clock [ns].
        ended_ns: When it answered [ns].
    """

    graph: str
    began_ns: int
    ended_ns: int


class TimedEngine:
    """Hands every inference on, and notes when it began and ended in `calls`.

    Whoever reads `calls` empties it. Several engines may share one list, in the order of time.

    Attributes:
        clock: Returns the time in [ns]; the monotonic one, or that of the thread's own work.
    """

    def __init__(self, inner: Engine, calls: list[EngineCall]) -> None:
        """Time `inner`; its calls are added to `calls`."""
        self.inner = inner
        self._calls = calls
        self._graph = inner.describe().graph
        self.clock: Callable[[], int] = time.perf_counter_ns

    def describe(self) -> EngineDescription:
        """Return what runs here."""
        return self.inner.describe()

    def warm_up(self) -> None:
        """Warm it up."""
        self.inner.warm_up()

    def infer(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the outputs.

        Raises:
            ValueError: if an input is missing or malformed; names it.
            InferenceFailed: if the engine fails.
        """
        began_ns = self.clock()
        found = self.inner.infer(inputs, outputs)
        self._calls.append(EngineCall(graph=self._graph, began_ns=began_ns, ended_ns=self.clock()))
        return found

    def close(self) -> None:
        """Free it."""
        self.inner.close()
