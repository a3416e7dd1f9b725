"""The websocket that robots connect to, asked by what is no robot of ours."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from vla_ros.engine.engine import Graph
from vla_ros.engine.remote.messages import (
    VERSION,
    pack,
    pack_arrays,
    unpack,
    unpack_description,
    unpack_sequence,
)
from vla_ros.serving.batcher import Answer
from vla_ros.testing.graph_server import GraphServer
from vla_ros.testing.small_graph import small_graph_inputs, write_small_graph
from vla_ros.testing.waiting import wait_for


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return Graph(path=write_small_graph(tmp_path_factory.mktemp("graph") / "small.onnx"))


@pytest.fixture(scope="module")
def server(graph: Graph) -> Iterator[GraphServer]:
    with GraphServer([graph]) as server:
        yield server


@pytest.fixture
def client(server: GraphServer) -> Iterator[ClientConnection]:
    with connect(server.address, compression=None) as client:
        yield client


def hello(served: Graph, **changes: Any) -> bytes:
    body = {"hello": VERSION, "graph": served.sha256, "name": "small.onnx", "deadline_ms": 5000.0}
    return pack(0, body | changes)


def receive(client: ClientConnection) -> bytes:
    message = client.recv(10.0)
    assert isinstance(message, bytes)
    return message


def question(sequence: int) -> bytes:
    inputs = pack_arrays({**small_graph_inputs(1, sequence)})
    return pack(sequence, {"inputs": inputs, "outputs": None})


def test_a_greeting_is_answered_with_what_is_served(
    client: ClientConnection, graph: Graph
) -> None:
    client.send(hello(graph))
    greeting = unpack(receive(client))
    assert greeting["hello"] == VERSION
    assert unpack_description(greeting["description"]).sha256 == graph.sha256


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hello": VERSION + 1}, f"the protocol is {VERSION}, not {VERSION + 1}"),
        ({"graph": "0" * 64}, "small.onnx 000000000000… is not served, only small.onnx"),
        ({"graph": None}, "is not served"),
        ({"deadline_ms": float("nan")}, "deadline_ms: expected a duration"),
        ({"deadline_ms": "soon"}, "deadline_ms: expected a duration"),
    ],
)
def test_a_greeting_that_cannot_be_served_is_refused_with_the_reason(
    client: ClientConnection, graph: Graph, changes: dict[str, Any], reason: str
) -> None:
    client.send(hello(graph, **changes))
    assert reason in unpack(receive(client))["refused"]
    with pytest.raises(ConnectionClosed):
        receive(client)


@pytest.mark.parametrize("message", ["text", b"", b"nonsense that is no msgpack", b"\x00" * 8])
def test_what_is_no_greeting_is_disconnected(
    client: ClientConnection, message: str | bytes
) -> None:
    client.send(message)
    with pytest.raises(ConnectionClosed):
        receive(client)


def test_robots_are_served_beside_one_that_sends_nonsense(
    server: GraphServer, client: ClientConnection, graph: Graph
) -> None:
    with connect(server.address, compression=None) as hostile:
        for each in (client, hostile):
            each.send(hello(graph))
            receive(each)
        hostile.send(question(1)[:100])
        hostile.send(b"")
        client.send(question(7))
        answer = receive(client)
        assert unpack_sequence(answer) == 7
        assert "outputs" in unpack(answer)
        assert "error" in unpack(receive(hostile))


def test_more_questions_at_once_than_a_robot_has_are_refused_and_none_is_left_unanswered(
    client: ClientConnection, graph: Graph
) -> None:
    client.send(hello(graph))
    receive(client)
    for sequence in range(1, 41):
        client.send(question(sequence))
    answers = [receive(client) for _ in range(40)]
    assert sorted(map(unpack_sequence, answers)) == list(range(1, 41))
    refused = [body for body in map(unpack, answers) if "error" in body]
    assert all(body["error"] == "too many questions at once" for body in refused)
    assert len(refused) < 40


def test_what_a_robot_asked_that_is_gone_is_not_inferred(graph: Graph) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def answering(answer: Answer) -> Answer:
        async def slowly(sha256: str, questions: Sequence[bytes]) -> list[bytes]:
            begun.set()
            await asyncio.to_thread(go_on.wait, 10.0)
            return await answer(sha256, questions)

        return slowly

    with GraphServer([graph], answering=answering) as server:
        with connect(server.address, compression=None) as gone:
            gone.send(hello(graph))
            receive(gone)
            gone.send(question(1))
            assert begun.wait(10.0)
            gone.send(question(2))  # waits: the first is under way
        wait_for(lambda: server.robots == 0, "the robot to go")
        go_on.set()
        with connect(server.address, compression=None) as other:
            other.send(hello(graph))
            receive(other)
            other.send(question(3))
            assert unpack_sequence(receive(other)) == 3
        assert server.batcher.served.questions == 2
