"""The graphs that a replica serves, and what it makes of a batch of questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import EngineError, InferenceFailed
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.engine import BATCH, Engine, EngineDescription, EngineOptions, Graph
from vla_ros.engine.remote.messages import (
    MalformedMessage,
    pack,
    pack_arrays,
    unpack,
    unpack_arrays,
    unpack_sequence,
)
from vla_ros.engine.tensors import checked_inputs
from vla_ros.policy.bundle import GRAPH, GROUNDING, Bundle


class UnknownGraph(Exception):
    """A question for a graph that is not served here."""


class ServedGraphs:
    """Engines with an open batch, by the SHA-256 of their graphs. One batch at a time."""

    def __init__(self, graphs: Sequence[Graph], choice: EngineChoice) -> None:
        """Load the graphs, and warm their engines up.

        Raises:
            EngineError: if the backend cannot run one, or it does not take several robots.
        """
        self._engines: dict[str, Engine] = {}
        for graph in graphs:
            if graph.sha256 in self._engines:
                continue
            engine = open_engine(graph, choice, EngineOptions(batch=None))
            for spec in engine.describe().inputs:
                if spec.shape[:1] != (BATCH,):
                    raise EngineError(
                        f"{graph.path}: input {spec.name!r} has shape {spec.shape}; to serve "
                        f"several robots its first dimension has to be open and called '{BATCH}'"
                    )
            self._engines[graph.sha256] = engine

    @staticmethod
    def of(sources: Sequence[str], choice: EngineChoice) -> ServedGraphs:
        """Load the graphs of bundles, and files `.onnx`.

        Raises:
            BundleError: if a bundle is incomplete or corrupted.
            EngineError: if the backend cannot run a graph.
        """
        graphs: list[Graph] = []
        for source in (Path(each).expanduser() for each in sources if each):
            if source.suffix == ".onnx":
                graphs.append(Graph(path=source))
                continue
            bundle = Bundle.open(source)
            graphs += [Graph(path=bundle.file(name), bundle=source) for name in (GRAPH, GROUNDING)]
        return ServedGraphs(graphs, choice)

    def describe(self) -> dict[str, EngineDescription]:
        """Return what runs each graph, by the graph's SHA-256."""
        return {sha256: engine.describe() for sha256, engine in self._engines.items()}

    def answer(self, sha256: str, questions: Sequence[bytes]) -> list[bytes]:
        """Return the answers to the questions of several robots, in their order.

        A malformed question gets its reason as the answer, and the others are not touched by it.

        Raises:
            UnknownGraph: if the graph is not served here.
        """
        engine = self._engines.get(sha256)
        if engine is None:
            raise UnknownGraph(sha256)
        description = engine.describe()
        answers: list[bytes] = [b""] * len(questions)
        taken: list[_Question] = []
        for index, message in enumerate(questions):
            try:
                taken.append(_Question(index, message, description))
            except (MalformedMessage, ValueError) as error:
                answers[index] = refusal(message, sha256, f"question: {error}")
        if taken:
            for question, body in zip(taken, _infer(engine, sha256, taken), strict=True):
                answers[question.index] = pack(question.sequence, body)
        return answers

    def close(self) -> None:
        """Free what the engines hold."""
        for engine in self._engines.values():
            engine.close()


def refusal(question: bytes, sha256: str, reason: str) -> bytes:
    """Return the answer that says why a question has none."""
    try:
        sequence = unpack_sequence(question)
    except MalformedMessage:
        sequence = 0
    return pack(sequence, {"sha256": sha256, "error": reason})


class _Question:
    """One robot's question, checked against what the graph takes."""

    def __init__(self, index: int, message: bytes, description: EngineDescription) -> None:
        self.index, self.sequence = index, unpack_sequence(message)
        body = unpack(message)
        self.inputs = checked_inputs(description.inputs, unpack_arrays(body.get("inputs")))
        rows = {value.shape[0] for value in self.inputs.values()}
        if len(rows) != 1 or 0 in rows:
            raise MalformedMessage(f"inputs: expected one batch, got {sorted(rows)} rows")
        self.rows = rows.pop()
        known = tuple(spec.name for spec in description.outputs)
        wanted = body.get("outputs")
        self.outputs = known if wanted is None else _names(wanted, known)


def _names(wanted: object, known: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(wanted, list) or not all(name in known for name in wanted):
        raise MalformedMessage(f"outputs: expected some of {', '.join(known)}, got {wanted!r:.80}")
    return tuple(wanted)


def _infer(engine: Engine, sha256: str, questions: Sequence[_Question]) -> list[dict[str, Any]]:
    """Return the bodies of the answers to questions that fit."""
    first = questions[0].inputs
    inputs: Mapping[str, NDArray[Any]] = (
        first
        if len(questions) == 1
        else {name: np.concatenate([each.inputs[name] for each in questions]) for name in first}
    )
    wanted = sorted({name for each in questions for name in each.outputs})
    try:
        outputs = engine.infer(inputs, wanted)
    except InferenceFailed as error:
        return [{"sha256": sha256, "error": error.reason} for _ in questions]
    bodies, begin = [], 0
    for each in questions:
        rows = slice(begin, begin + each.rows)
        found = {name: np.asarray(outputs[name])[rows] for name in each.outputs}
        bodies.append({"sha256": sha256, "outputs": pack_arrays(found)})
        begin = rows.stop
    return bodies
