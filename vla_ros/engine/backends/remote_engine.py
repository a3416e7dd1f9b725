"""A graph that runs on a server: `remote:ws://host:port?deadline_ms=80`.

The server knows nothing of the robot: history, anchor and what words mean stay here, so that any
server with the same graph can answer the next question. What comes back late, short, malformed,
with NaN or of another graph is no answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import EngineError, InferenceFailed
from vla_ros.engine.engine import (
    BATCH,
    Arrays,
    EngineDescription,
    EngineOptions,
    Graph,
    TensorSpec,
)
from vla_ros.engine.remote.address import Address
from vla_ros.engine.remote.link import Link
from vla_ros.engine.remote.messages import MalformedMessage, pack_arrays, unpack_arrays
from vla_ros.engine.remote.round_trips import RoundTrips
from vla_ros.engine.tensors import checked_inputs, example_inputs, require_outputs

#: The first inferences may take this long [s]: a server may still have to warm up for them.
WARM_UP_S = 10.0


class RemoteEngine:
    """Asks a server for every inference; fails at once while there is none."""

    def __init__(self, graph: Graph, options: EngineOptions) -> None:
        """Connect; where others stand in, that may take until there is a server.

        Raises:
            EngineError: if there is no server and nothing stands in, or it serves another graph;
                says why.
        """
        if not graph.path.is_file():
            raise EngineError(f"{graph.path}: is missing")
        self._graph = graph
        self._address = Address.parse(options.argument)
        self._link = Link(self._address, graph)
        self._link.open(may_wait=options.backed)
        self._batch = options.batch

    @property
    def _inputs(self) -> tuple[TensorSpec, ...]:
        """What it takes; nothing is known of that before the first connection."""
        served = self._link.description
        return () if served is None else _with_batch(served.inputs, self._batch)

    @property
    def _outputs(self) -> tuple[TensorSpec, ...]:
        served = self._link.description
        return () if served is None else _with_batch(served.outputs, self._batch)

    def describe(self) -> EngineDescription:
        """Return what answers, and how long it takes."""
        link = self._link
        served = link.description
        return EngineDescription(
            backend=f"remote:{self._address.text}",
            version="" if served is None else served.version,
            device=f"{'unknown' if served is None else served.device} of {self._address.url}",
            precision="" if served is None else served.precision,
            graph=self._graph.path.name,
            sha256=self._graph.sha256,
            inputs=self._inputs,
            outputs=self._outputs,
            notes={
                "server": "" if served is None else served.backend,
                "connection": link.down or "up",
                "connections": str(link.connections),
                "deadline_ms": f"{1e3 * self._address.deadline_s:g}",
                **link.trips.notes(),
            },
        )

    def warm_up(self) -> None:
        """Infer from zeros; what is measured of the round trip begins after that.

        What a graph makes of zeros may be anything, and nobody sees it: it need not be finite.
        A server that is not there yet is not waited for.

        Raises:
            InferenceFailed: if not even that works.
        """
        if self._link.description is None:
            return
        zeros = example_inputs(self._inputs, self._batch or 1)
        for _ in range(2):
            self._infer(zeros, None, WARM_UP_S, finite=False)
        self._link.trips = RoundTrips()

    def infer(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the outputs; they are read-only.

        Raises:
            ValueError: if an input is missing or malformed; names it.
            InferenceFailed: if no answer came in time, or none that may be used; says why.
        """
        return self._infer(inputs, outputs, self._address.deadline_s)

    def close(self) -> None:
        """Disconnect."""
        self._link.close()

    def _infer(
        self,
        inputs: Arrays,
        outputs: Sequence[str] | None,
        deadline_s: float,
        *,
        finite: bool = True,
    ) -> dict[str, Any]:
        if self._link.description is None:
            raise InferenceFailed(f"{self._address.url}: no connection: {self._link.down}")
        feed = checked_inputs(self._inputs, inputs)
        wanted = require_outputs(self._outputs, outputs)
        lengths = _open_lengths(self._inputs, feed)
        body = {"inputs": pack_arrays(feed), "outputs": list(wanted)}
        answer = self._link.ask(body, deadline_s)
        try:
            found = self._read(answer, wanted, lengths)
            for name, value in found.items() if finite else ():
                _require_finite(name, value)
        except MalformedMessage as error:
            raise InferenceFailed(f"{self._address.url}: answer: {error.reason}") from error
        return found

    def _read(
        self, answer: Mapping[str, Any], wanted: Sequence[str], lengths: Mapping[str, int]
    ) -> dict[str, NDArray[Any]]:
        """Return the outputs of an answer.

        Raises:
            InferenceFailed: if the server says that it failed, or answers for another graph.
            MalformedMessage: if an output is missing, or of another type or shape.
        """
        if "error" in answer:
            raise InferenceFailed(f"{self._address.url}: {answer['error']!s:.500}")
        if answer.get("sha256") != self._graph.sha256:
            raise InferenceFailed(
                f"{self._address.url}: answers with the graph {answer.get('sha256')!s:.12}…, "
                f"this robot's is {self._graph.sha256[:12]}…; load the bundle that is served"
            )
        came = unpack_arrays(answer.get("outputs"))
        specs = {spec.name: spec for spec in self._outputs}
        return {name: _checked(specs[name], came.get(name), lengths) for name in wanted}


def load(graph: Graph, options: EngineOptions) -> RemoteEngine:
    """Return an engine that asks a server.

    Raises:
        EngineError: if there is no server, or it serves another graph; says why.
    """
    return RemoteEngine(graph, options)


def _with_batch(specs: Iterable[TensorSpec], batch: int | None) -> tuple[TensorSpec, ...]:
    """Return the specs with the number of robots that an inference serves; None leaves it open."""
    return tuple(
        replace(
            spec,
            shape=tuple(batch if size == BATCH and batch else size for size in spec.shape),
        )
        for spec in specs
    )


def _open_lengths(specs: Iterable[TensorSpec], feed: Arrays) -> dict[str, int]:
    """Return the lengths of open dimensions, by their names, as the inputs have them."""
    return {
        name: length
        for spec in specs
        for name, length in zip(spec.shape, feed[spec.name].shape, strict=True)
        if isinstance(name, str)
    }


def _checked(
    spec: TensorSpec, value: NDArray[Any] | None, lengths: Mapping[str, int]
) -> NDArray[Any]:
    if value is None:
        raise MalformedMessage(f"output {spec.name!r} is missing")
    shape = tuple(
        lengths.get(size, size) if isinstance(size, str) else size for size in spec.shape
    )
    fits = len(shape) == value.ndim and all(
        isinstance(wanted, str) or wanted == size
        for wanted, size in zip(shape, value.shape, strict=True)
    )
    if value.dtype.name != spec.dtype or not fits:
        raise MalformedMessage(
            f"output {spec.name!r}: expected {spec.dtype} of shape {shape}, "
            f"got {value.dtype} of shape {value.shape}"
        )
    return value


def _require_finite(name: str, value: NDArray[Any]) -> None:
    if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
        raise MalformedMessage(f"output {name!r} holds NaN or infinity")
