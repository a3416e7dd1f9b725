"""The remote engine in front of servers that are late, short, wrong, silent, or gone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.sync.server import ServerConnection, serve

from vla_ros.core.errors import EngineError, InferenceFailed
from vla_ros.engine.backends.remote_engine import load
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.engine import Engine, EngineOptions, Graph
from vla_ros.engine.fallback import FallbackEngine
from vla_ros.engine.remote.messages import (
    VERSION,
    pack,
    pack_description,
    unpack,
    unpack_sequence,
)
from vla_ros.serving.batcher import Answer
from vla_ros.testing.graph_server import GraphServer
from vla_ros.testing.small_graph import small_graph_inputs, write_small_graph
from vla_ros.testing.waiting import wait_for

DEADLINE_MS = 300
Change = Callable[[list[bytes]], Awaitable[list[bytes]]]


async def unchanged(answers: list[bytes]) -> list[bytes]:
    return answers


def changed(change: Callable[[dict[str, Any]], None]) -> Change:
    """Return what changes the body of every answer."""

    async def answer(answers: list[bytes]) -> list[bytes]:
        found = []
        for message in answers:
            body = unpack(message)
            change(body)
            found.append(pack(unpack_sequence(message), body))
        return found

    return answer


class Faulty:
    """A server whose answers are changed by `change`, which a test may replace at any time."""

    def __init__(self, graph: Graph, port: int = 0) -> None:
        self.change: Change = unchanged
        self.server = GraphServer([graph], port=port, answering=self._wrap)

    def _wrap(self, answer: Answer) -> Answer:
        async def answering(sha256: str, questions: Sequence[bytes]) -> list[bytes]:
            return await self.change(await answer(sha256, questions))

        return answering


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return Graph(path=write_small_graph(tmp_path_factory.mktemp("graph") / "small.onnx"))


@pytest.fixture
def faulty(graph: Graph) -> Iterator[Faulty]:
    faulty = Faulty(graph)
    with faulty.server:
        yield faulty


def remote(server: GraphServer, deadline_ms: int = DEADLINE_MS) -> str:
    return f"remote:{server.address}?deadline_ms={deadline_ms}"


@pytest.fixture
def engine(faulty: Faulty, graph: Graph) -> Iterator[Engine]:
    engine = open_engine(graph, EngineChoice(backends=(remote(faulty.server),)))
    yield engine
    engine.close()


def works(engine: Engine) -> bool:
    try:
        engine.infer(small_graph_inputs(1, 0))
    except InferenceFailed:
        return False
    return True


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda body: body["outputs"].popitem(), "output '.*' is missing"),
        (lambda body: body.update(outputs=None), "expected a map of arrays, got NoneType"),
        (lambda body: body.update(sha256="f" * 64), "answers with the graph ffffffffffff"),
        (lambda body: body.update(error="the engine broke"), "the engine broke"),
    ],
)
def test_an_answer_that_is_no_answer_fails_with_the_reason_and_the_next_one_is_taken(
    faulty: Faulty, engine: Engine, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    faulty.change = changed(change)
    with pytest.raises(InferenceFailed, match=reason):
        engine.infer(small_graph_inputs(1, 0))
    faulty.change = unchanged
    assert works(engine)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        ({"dtype": "float32", "data": np.float32("nan").tobytes()}, "holds NaN or infinity"),
        ({"dtype": "float32", "data": np.float32("inf").tobytes()}, "holds NaN or infinity"),
        ({"dtype": "float64", "data": bytes(8)}, "expected float32 of shape .*, got float64"),
        ({"dtype": "float32", "data": bytes(3)}, "expected .* bytes .* got"),
    ],
)
def test_numbers_that_must_not_move_a_robot_fail_with_the_name_of_the_output(
    faulty: Faulty, engine: Engine, array: dict[str, Any], reason: str
) -> None:
    def change(body: dict[str, Any]) -> None:
        for value in body["outputs"].values():
            count = int(np.prod(value["shape"]))
            value |= {"dtype": array["dtype"], "data": array["data"] * count}

    faulty.change = changed(change)
    with pytest.raises(InferenceFailed, match=reason):
        engine.infer(small_graph_inputs(1, 0))


def test_a_message_that_is_cut_short_fails(faulty: Faulty, engine: Engine) -> None:
    async def cut(answers: list[bytes]) -> list[bytes]:
        return [message[: len(message) // 2] for message in answers]

    faulty.change = cut
    with pytest.raises(InferenceFailed, match="answer: is no msgpack of the agreed kind"):
        engine.infer(small_graph_inputs(1, 0))


def test_a_late_answer_is_dropped_and_never_taken_for_the_next_one(
    faulty: Faulty, engine: Engine
) -> None:
    first, second = small_graph_inputs(1, 1), small_graph_inputs(1, 2)
    expected = {name: np.array(value) for name, value in engine.infer(second).items()}
    late = asyncio.Event()

    async def delay(answers: list[bytes]) -> list[bytes]:
        await late.wait()
        return answers

    faulty.change = delay
    began = time.monotonic()
    with pytest.raises(InferenceFailed, match=f"no answer within {DEADLINE_MS} ms"):
        engine.infer(first)
    assert time.monotonic() - began < 10 * 1e-3 * DEADLINE_MS
    faulty.change = unchanged
    faulty.server.call_soon(late.set)
    for name, value in engine.infer(second).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    wait_for(lambda: engine.describe().notes["late"] == "1", "the late answer to come")
    assert engine.describe().notes["lost"] == "0"


def test_without_an_answer_the_fallback_answers_until_the_server_is_back(graph: Graph) -> None:
    faulty = Faulty(graph)
    inputs = small_graph_inputs(1, 3)
    with faulty.server:
        port = faulty.server.port
        name = remote(faulty.server)
        engine = open_engine(graph, EngineChoice(backends=(name, "onnxruntime")))
        assert isinstance(engine, FallbackEngine)
        expected = {key: np.array(value) for key, value in engine.infer(inputs).items()}
        assert engine.answered == {name: 1}
    for _ in range(3):
        for key, value in engine.infer(inputs).items():
            np.testing.assert_allclose(value, expected[key], rtol=1e-5, atol=1e-6)
    assert engine.answered["onnxruntime"] == 3
    assert "connection" in engine.describe().notes["fallback"]
    with Faulty(graph, port).server:
        wait_for(
            lambda: engine.infer(inputs) and engine.answered[name] > 1,
            "the server to answer again",
        )
        assert "fallback" not in engine.describe().notes
        engine.close()


def test_a_server_that_starts_after_the_robot_takes_over_from_the_fallback(graph: Graph) -> None:
    inputs = small_graph_inputs(1, 3)
    with Faulty(graph).server as server:  # a port that is free from now on
        port, name = server.port, remote(server)
    engine = open_engine(graph, EngineChoice(backends=(name, "onnxruntime")))
    assert isinstance(engine, FallbackEngine)
    assert engine.describe().backend == "onnxruntime"
    assert [spec.name for spec in engine.describe().inputs] == list(inputs)
    engine.infer(inputs)
    assert "no connection" in engine.describe().notes["fallback"]
    with Faulty(graph, port).server:
        wait_for(lambda: engine.infer(inputs) and engine.answered[name], "the server to answer")
        assert engine.describe().backend == name
        engine.close()


def test_a_server_of_another_graph_is_left_out_at_the_start_although_there_is_a_fallback(
    graph: Graph, tmp_path: Path
) -> None:
    other = Graph(path=write_small_graph(tmp_path / "other.onnx"))
    other.path.write_bytes(other.path.read_bytes() + b"\x12\x05other")  # the producer's name
    with Faulty(other).server as server:
        engine = open_engine(graph, EngineChoice(backends=(remote(server), "onnxruntime")))
    assert "is not served" in engine.describe().notes["left_out"]
    engine.close()


def test_while_there_is_no_server_inference_fails_at_once(graph: Graph) -> None:
    with Faulty(graph).server as server:
        engine = open_engine(graph, EngineChoice(backends=(remote(server, 5000),)))
    wait_for(lambda: not works(engine), "the connection to end")
    began = time.monotonic()
    with pytest.raises(InferenceFailed, match="no connection: "):
        engine.infer(small_graph_inputs(1, 0))
    assert time.monotonic() - began < 1.0
    engine.close()


def test_a_server_of_another_graph_that_takes_its_place_is_refused(
    graph: Graph, tmp_path: Path
) -> None:
    other = Graph(path=write_small_graph(tmp_path / "other.onnx"))
    other.path.write_bytes(other.path.read_bytes() + b"\x12\x05other")  # the producer's name
    assert other.sha256 != graph.sha256
    with Faulty(graph).server as server:
        engine = open_engine(graph, EngineChoice(backends=(remote(server),)))
    with Faulty(other, server.port).server:
        wait_for(
            lambda: "is not served" in engine.describe().notes["connection"], "it to be refused"
        )
        with pytest.raises(InferenceFailed, match=r"small\.onnx .* is not served, only other"):
            engine.infer(small_graph_inputs(1, 0))
    engine.close()


def test_no_server_is_an_error_that_names_the_address_and_the_way_out(graph: Graph) -> None:
    with pytest.raises(EngineError, match=r"ws://127\.0\.0\.1:9.*vla_ros serve BUNDLE"):
        open_engine(graph, EngineChoice(backends=("remote:ws://127.0.0.1:9",)))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "expected an address"),
        ("http://127.0.0.1:8765", "expected an address"),
        ("ws://127.0.0.1:many", "expected an address"),
        ("ws://127.0.0.1:8765?deadline_ms=soon", "deadline_ms: expected a duration above 0"),
        ("ws://127.0.0.1:8765?deadline_ms=0", "deadline_ms: expected a duration above 0"),
        ("ws://127.0.0.1:8765?dead_line=3", "'dead_line' is no setting"),
    ],
)
def test_an_address_that_is_none_is_named(graph: Graph, address: str, reason: str) -> None:
    with pytest.raises(EngineError, match=reason):
        open_engine(graph, EngineChoice(backends=(f"remote:{address}",)))


def test_it_measures_its_round_trip(engine: Engine) -> None:
    for seed in range(5):
        engine.infer(small_graph_inputs(1, seed))
    notes = engine.describe().notes
    assert (notes["sent"], notes["late"], notes["lost"]) == ("5", "0", "0")
    assert 0.0 < float(notes["p50_ms"]) <= float(notes["p99_ms"]) < DEADLINE_MS


def test_a_server_that_reads_nothing_does_not_hold_up_the_policy(graph: Graph) -> None:
    open_batch = EngineOptions(batch=None)
    local = open_engine(graph, EngineChoice(), open_batch)
    greeting = pack(0, {"hello": VERSION, "description": pack_description(local.describe())})
    done = threading.Event()

    def greet(socket: ServerConnection) -> None:
        socket.recv()
        socket.send(greeting)
        done.wait(100.0)

    with serve(greet, "127.0.0.1", 0, compression=None, max_size=None, max_queue=1) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.socket.getsockname()[1]
        engine = load(graph, replace(open_batch, argument=f"ws://127.0.0.1:{port}?deadline_ms=50"))
        reasons = set()
        for _ in range(60):  # until what the system buffers is full
            began = time.monotonic()
            with pytest.raises(InferenceFailed) as caught:
                engine.infer(small_graph_inputs(20_000, 0))
            reasons.add(caught.value.reason.partition(": ")[2])
            assert time.monotonic() - began < 2.0
            if "the server does not read what is sent" in reasons:
                break
        else:
            pytest.fail(f"only {reasons}")
        done.set()
        engine.close()
        server.shutdown()
