"""What a replica makes of the questions of several robots."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from vla_ros.core.errors import EngineError
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.engine import Graph
from vla_ros.engine.remote.messages import (
    pack,
    pack_arrays,
    unpack,
    unpack_arrays,
    unpack_sequence,
)
from vla_ros.serving.served_graphs import ServedGraphs, UnknownGraph
from vla_ros.testing.small_graph import small_graph_inputs, write_small_graph


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return Graph(path=write_small_graph(tmp_path_factory.mktemp("graph") / "small.onnx"))


@pytest.fixture(scope="module")
def served(graph: Graph) -> Iterator[ServedGraphs]:
    served = ServedGraphs([graph, graph], EngineChoice())
    yield served
    served.close()


def question(sequence: int, batch: int = 1, outputs: Any = None, **changes: Any) -> bytes:
    inputs: dict[str, Any] = pack_arrays({**small_graph_inputs(batch, sequence)})
    return pack(sequence, {"inputs": inputs | changes, "outputs": outputs})


def test_each_robot_gets_what_it_would_have_got_alone(served: ServedGraphs, graph: Graph) -> None:
    alone = open_engine(graph, EngineChoice())
    answers = served.answer(graph.sha256, [question(n) for n in (5, 3, 9)])
    assert [unpack_sequence(answer) for answer in answers] == [5, 3, 9]
    for sequence, answer in zip((5, 3, 9), answers, strict=True):
        body = unpack(answer)
        assert body["sha256"] == graph.sha256
        expected = alone.infer(small_graph_inputs(1, sequence))
        for name, value in unpack_arrays(body["outputs"]).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_robots_that_want_different_outputs_and_have_several_rows_share_a_batch(
    served: ServedGraphs, graph: Graph
) -> None:
    questions = [question(1, outputs=["chunk"]), question(2, 3), question(3, outputs=["progress"])]
    bodies = [unpack(answer) for answer in served.answer(graph.sha256, questions)]
    found = [unpack_arrays(body["outputs"]) for body in bodies]
    assert [set(each) for each in found] == [{"chunk"}, {"chunk", "progress"}, {"progress"}]
    assert [next(iter(each.values())).shape[0] for each in found] == [1, 3, 1]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (question(2, outputs=["nonsense"]), "outputs: expected some of chunk, progress"),
        (question(2, outputs=[["chunk"]]), "outputs: expected some of chunk, progress"),
        (
            question(2, state={"dtype": "float32", "shape": [1, 4], "data": b""}),
            "state: expected 16",
        ),
        (question(2, state=pack_arrays({"s": np.zeros((1, 4))})["s"]), "input 'state': expected"),
        (question(2, state=pack_arrays({"s": np.zeros((2, 4), "f4")})["s"]), "expected one batch"),
        (question(2)[:-5], "is no msgpack"),
        (pack(2, {}), "expected a map of arrays"),
    ],
)
def test_a_malformed_question_gets_its_reason_and_the_others_their_answers(
    served: ServedGraphs, graph: Graph, bad: bytes, reason: str
) -> None:
    first, middle, last = served.answer(graph.sha256, [question(1), bad, question(3)])
    assert unpack_sequence(middle) == 2
    assert reason in unpack(middle)["error"]
    assert {"outputs"} == (set(unpack(first)) & set(unpack(last))) - {"sha256"}


def test_a_question_without_a_number_does_not_end_the_batch(
    served: ServedGraphs, graph: Graph
) -> None:
    short, good = served.answer(graph.sha256, [b"abc", question(3)])
    assert "expected 8 bytes at least" in unpack(short)["error"]
    assert "outputs" in unpack(good)


def test_a_graph_that_is_not_served_is_not_answered(served: ServedGraphs) -> None:
    with pytest.raises(UnknownGraph):
        served.answer("0" * 64, [question(1)])


def test_a_graph_for_one_robot_only_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    path = write_small_graph(tmp_path / "fixed.onnx")
    model = onnx.load(path)
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, path)
    with pytest.raises(
        EngineError, match=r"fixed\.onnx: input 'image' .* open and called 'batch'"
    ):
        ServedGraphs([Graph(path=path)], EngineChoice())


def test_a_bundle_is_served_with_both_of_its_graphs(language_files: Path) -> None:
    served = ServedGraphs.of([str(language_files), "", str(language_files)], EngineChoice())
    graphs = {each.graph for each in served.describe().values()}
    assert graphs == {"policy.onnx", "grounding.onnx"}
    served.close()
