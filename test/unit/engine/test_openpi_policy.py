"""A policy server of openpi's protocol: what it is asked, and each answer that is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import ContractError, EngineError, InferenceFailed, UserError
from vla_ros.engine.opening import open_policy
from vla_ros.engine.openpi_link import OpenPiLink
from vla_ros.engine.openpi_messages import pack, unpack
from vla_ros.engine.openpi_policy import OpenPiPolicy
from vla_ros.testing.observations import make_observation
from vla_ros.testing.optional_conformance import ClosableConformance, ReportingConformance
from vla_ros.testing.policy_conformance import PolicyConformance

CONTRACT = load_contract("tabletop_sim")
JOINTS, ROWS = len(CONTRACT.action.joints), 5

Answer = Callable[[dict[str, Any]], Any]


def actions(question: dict[str, Any]) -> dict[str, Any]:
    """Answer with the state in every row."""
    return {"actions": np.tile(question["observation.state"], (ROWS, 1)), "server_timing": {}}


class OpenPiServer:
    """A server on loopback: metadata first, then an answer for each question, errors as text."""

    def __init__(self, port: int = 0) -> None:
        self.answer: Answer = actions
        self.questions: list[dict[str, Any]] = []
        self.released = threading.Event()
        self._server: Server = serve(
            self._talk, "127.0.0.1", port, compression=None, max_size=None
        )
        self.port = int(self._server.socket.getsockname()[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join(10.0)

    def _talk(self, connection: ServerConnection) -> None:
        connection.send(pack({"policy": "test"}))
        try:
            for message in connection:
                assert isinstance(message, bytes)
                self.questions.append(unpack(message))
                answer = self.answer(self.questions[-1])
                connection.send(answer if isinstance(answer, bytes | str) else pack(answer))
        except ConnectionClosed:
            pass


@contextmanager
def serving(port: int = 0) -> Iterator[OpenPiServer]:
    server = OpenPiServer(port)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def server() -> Iterator[OpenPiServer]:
    with serving() as server:
        yield server


class TestOpenPiPolicy(PolicyConformance, ReportingConformance, ClosableConformance):
    @pytest.fixture(autouse=True)
    def _take(self, server: OpenPiServer) -> None:
        self.server = server

    def make_policy(self) -> Any:
        return OpenPiPolicy(self.server.address, CONTRACT)

    def make_contract(self) -> RobotContract:
        return CONTRACT


@pytest.fixture
def policy(server: OpenPiServer, tmp_path: Path) -> OpenPiPolicy:
    policy = OpenPiPolicy(configured(tmp_path, server.address, "deadline_s: 0.3"), CONTRACT)
    policy.start("pick up the red cube")
    return policy


def configured(folder: Path, address: str, *lines: str) -> str:
    path = folder / "server.yaml"
    path.write_text("\n".join([f"server: {address}", *lines]) + "\n", encoding="utf-8")
    return str(path)


def test_a_server_is_told_the_robots_features_by_lerobots_names_and_the_prompt(
    server: OpenPiServer,
) -> None:
    policy, _ = open_policy(server.address, CONTRACT, backend="openpi")
    policy.start("pick up the red cube")
    observation = make_observation(CONTRACT)
    chunk = policy.infer(observation)
    (question,) = server.questions
    assert question["prompt"] == "pick up the red cube"
    np.testing.assert_array_equal(
        question["observation.images.front"], observation.images["front"]
    )
    np.testing.assert_allclose(chunk.positions, np.tile(observation.state, (ROWS, 1)))


def test_configured_keys_step_and_relative_actions_are_used(
    server: OpenPiServer, tmp_path: Path
) -> None:
    server.answer = lambda question: {"actions": np.full((ROWS, JOINTS), 0.1)}
    lines = ("keys:", "  observation/state: observation.state", "  text: task")
    source = configured(tmp_path, server.address, *lines, "step_s: 0.02", "relative_to: state")
    policy = OpenPiPolicy(source, CONTRACT)
    policy.start("go")
    observation = make_observation(CONTRACT)
    chunk = policy.infer(observation)
    assert set(server.questions[0]) == {"observation/state", "text"}
    assert chunk.step_s == 0.02
    np.testing.assert_allclose(chunk.positions[0], observation.state + 0.1, atol=1e-6)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda q: {"actions": np.full((ROWS, JOINTS), np.nan)}, "NaN or infinity, first in row"),
        (lambda q: {"actions": np.zeros((ROWS, JOINTS - 1))}, r"has shape \(5, 5\), expected"),
        (lambda q: {"actions": np.zeros((2, JOINTS))}, "has 2 rows, 5 before: cut short"),
        (lambda q: {"actions": "none"}, "'actions' is str, expected an array of numbers"),
        (lambda q: {"other": 1}, "no 'actions' in the answer, only other"),
        (lambda q: b"\xc1nonsense", "a malformed answer of 9 bytes"),
        (lambda q: pack({"actions": np.zeros((2, 2))})[:-9], "a malformed answer of"),
        (lambda q: "Traceback:\n  File\nKeyError: 'a'\n", "the server failed: KeyError: 'a'"),
        (lambda q: pack({"a": 1})[:0] + b"\x01", "expected a map, got int"),
    ],
)  # fmt: skip
def test_a_bad_answer_is_no_chunk_with_the_reason_and_a_good_one_after_it_is(
    server: OpenPiServer, policy: OpenPiPolicy, answer: Answer, said: str
) -> None:
    observation = make_observation(CONTRACT)
    policy.infer(observation)
    server.answer = answer
    with pytest.raises(InferenceFailed, match=said):
        policy.infer(observation)
    server.answer = actions
    assert policy.infer(observation).horizon == ROWS


def test_a_late_answer_is_no_chunk_and_is_not_taken_for_the_next_one(
    server: OpenPiServer, policy: OpenPiPolicy
) -> None:
    def late(question: dict[str, Any]) -> dict[str, Any]:
        server.released.wait(10.0)
        return {"actions": np.full((ROWS, JOINTS), 9.0)}

    observation = make_observation(CONTRACT)
    server.answer = late
    with pytest.raises(InferenceFailed, match=r"no answer within 0\.3 s"):
        policy.infer(observation)
    server.answer = actions
    server.released.set()
    assert policy.infer(observation).positions.max() < 9.0


def test_a_server_that_comes_back_is_connected_to_again(tmp_path: Path) -> None:
    observation = make_observation(CONTRACT)
    with serving() as first:
        policy = OpenPiPolicy(configured(tmp_path, first.address, "deadline_s: 0.5"), CONTRACT)
        policy.start("go")
        policy.infer(observation)
        port = first.port
    with pytest.raises(InferenceFailed, match="the connection broke"):
        policy.infer(observation)
    with pytest.raises(InferenceFailed, match=r"no connection: .*refused"):
        policy.infer(observation)
    with pytest.raises(InferenceFailed, match=r"no connection: .*; connecting again in 0\.\d s"):
        policy.infer(observation)
    with serving(port):
        assert _infer_until(policy, 10.0).horizon == ROWS


def _infer_until(policy: OpenPiPolicy, deadline_s: float) -> Any:
    """Return the first chunk."""
    over = threading.Event()
    timer = threading.Timer(deadline_s, over.set)
    timer.start()
    while not over.is_set():
        try:
            return policy.infer(make_observation(CONTRACT))
        except InferenceFailed:
            over.wait(0.05)
        finally:
            if over.is_set():
                timer.cancel()
    raise AssertionError(f"no chunk within {deadline_s} s")


def test_attempts_to_connect_get_rarer_up_to_a_bound() -> None:
    now = [0.0]
    with serving() as gone:
        address = gone.address
    link = OpenPiLink(address, 0.2, lambda: now[0])
    waits = []
    for _ in range(10):
        with pytest.raises(InferenceFailed, match="no connection"):
            link.ask({})
        began = now[0]
        while _not_due(link):
            now[0] += 0.05
        waits.append(now[0] - began)
    assert waits[0] == 0.0
    assert waits[1] < waits[3] < waits[5]
    assert max(waits) < 5.2


def _not_due(link: OpenPiLink) -> bool:
    return link._next_s > link._clock()


def test_a_server_that_is_not_there_or_no_server_is_refused_at_the_start(tmp_path: Path) -> None:
    with serving() as gone:
        address = gone.address
    with pytest.raises(EngineError, match=r"no connection: .*start the server"):
        OpenPiPolicy(address, CONTRACT)
    with pytest.raises(UserError, match="expected ws://host:port"):
        OpenPiPolicy("nowhere", CONTRACT)
    with pytest.raises(EngineError, match="cannot take over from a policy server"):
        open_policy(address, CONTRACT, backend="openpi", fallback="onnxruntime")
    source = configured(tmp_path, address, "keys:", "  image: observation.images.top")
    with pytest.raises(ContractError, match=r"keys\.image: .* has no observation\.images\.top"):
        OpenPiPolicy(source, CONTRACT)


def test_an_array_of_objects_is_not_read() -> None:
    crafted = pack({}).replace(
        b"\x80", b"\x83\xc4\x0b__ndarray__\xc3\xc4\x05dtype\xa2|O\xc4\x05shape\x90"
    )
    with pytest.raises(ValueError, match="is not read"):
        unpack(crafted)


def test_openpis_own_client_and_ours_read_each_others_messages() -> None:
    theirs = pytest.importorskip("openpi_client.msgpack_numpy", reason="pip install openpi-client")
    values = {"image": np.arange(12, dtype=np.uint8).reshape(2, 2, 3), "state": np.float32(1.5)}
    for write, read in ((pack, theirs.unpackb), (theirs.packb, unpack)):
        found = read(write(values))
        np.testing.assert_array_equal(found["image"], values["image"])
        assert found["state"] == values["state"]


def test_openpis_own_client_understands_the_server_of_these_tests(server: OpenPiServer) -> None:
    theirs = pytest.importorskip("openpi_client.websocket_client_policy")
    client = theirs.WebsocketClientPolicy("127.0.0.1", server.port)
    assert client.get_server_metadata() == {"policy": "test"}
    found = client.infer({"observation.state": np.zeros(JOINTS)})
    assert found["actions"].shape == (ROWS, JOINTS)


def test_another_robot_is_another_policy(server: OpenPiServer) -> None:
    fewer = replace(CONTRACT, observations=CONTRACT.observations[:1] + CONTRACT.observations[2:])
    ours, other = (OpenPiPolicy(server.address, each) for each in (CONTRACT, fewer))
    assert ours.bundle_sha256 != other.bundle_sha256
