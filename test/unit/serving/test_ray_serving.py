"""A real server: Ray Serve on loopback, robots that connect, an update, a replica that dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from vla_ros.core.errors import InferenceFailed, UserError
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.engine import Engine, Graph
from vla_ros.engine.tensors import example_inputs
from vla_ros.policy.bundle import DESCRIPTION, GRAPH, file_sha256
from vla_ros.serving.server import Server
from vla_ros.serving.settings import GatewaySettings, ModelSettings
from vla_ros.testing.waiting import wait_for

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`"),  # Ray's own
]

#: Starting a process of Ray takes seconds, and half a minute on a loaded machine [s].
START_S = 120.0


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def server(language_files: Path) -> Iterator[Server]:
    gateway = GatewaySettings(port=free_port(), max_batch=8)
    with Server(ModelSettings(bundle=str(language_files), replicas=2), gateway) as server:
        yield server
        pids = {server.replica_pid() for _ in range(20)}
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the replicas to end")
    with socket.create_server(("127.0.0.1", gateway.port)):
        pass  # the port is free again


def connect(server: Server, bundle: Path, deadline_ms: int = 5000) -> Engine:
    graph = Graph(path=bundle / GRAPH)
    choice = EngineChoice(backends=(f"{server.address}?deadline_ms={deadline_ms}",))
    return open_engine(graph, choice)


def another_bundle(bundle: Path, folder: Path) -> Path:
    """Return a copy whose graph does the same and is another file."""
    other = Path(shutil.copytree(bundle, folder / "other"))
    with (other / GRAPH).open("ab") as file:
        file.write(b"\x12\x05other")  # protobuf: the producer's name
    description = json.loads((other / DESCRIPTION).read_text())
    description["files"][GRAPH] = file_sha256(other / GRAPH)
    (other / DESCRIPTION).write_text(json.dumps(description))
    return other


class Asking:
    """A robot that asks all the time, in a thread of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers = 0
        self.failures: list[str] = []

    def _run(self) -> None:
        inputs = example_inputs(self._engine.describe().inputs)
        while not self._stop.wait(0.02):
            try:
                self._engine.infer(inputs)
                self.answers += 1
            except InferenceFailed as error:
                self.failures.append(error.reason)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(30.0)
        self._engine.close()


def test_a_robot_gets_from_the_server_what_its_own_engine_says(
    server: Server, language_files: Path
) -> None:
    local = open_engine(Graph(path=language_files / GRAPH), EngineChoice())
    remote = connect(server, language_files)
    rng = np.random.default_rng(0)
    for _ in range(3):
        inputs = example_inputs(local.describe().inputs)
        inputs["rgb_front"] = rng.integers(0, 255, inputs["rgb_front"].shape, dtype=np.uint8)
        inputs["present"] = np.ones_like(inputs["present"])
        expected, found = local.infer(inputs), remote.infer(inputs)
        assert set(found) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    assert remote.describe().notes["server"] == "onnxruntime"
    remote.close()


def test_robots_that_ask_together_are_served_together(
    server: Server, language_files: Path
) -> None:
    before = server.served()
    robots = [Asking(connect(server, language_files)) for _ in range(8)]
    for robot in robots:
        robot.__enter__()
    wait_for(lambda: all(robot.answers > 10 for robot in robots), "answers", START_S)
    for robot in robots:
        robot.__exit__()
    after = server.served()
    assert [reason for robot in robots for reason in robot.failures] == []
    questions = after["questions"] - before["questions"]
    assert after["batches"] - before["batches"] < questions


def test_a_killed_replica_costs_no_more_than_what_it_worked_on_and_is_replaced(
    server: Server, language_files: Path
) -> None:
    with Asking(connect(server, language_files)) as robot:
        wait_for(lambda: robot.answers > 5, "answers", START_S)
        pid = server.replica_pid()
        os.kill(pid, signal.SIGKILL)
        answered = robot.answers
        wait_for(lambda: robot.answers > answered + 20, "answers of the other", START_S)
        wait_for(
            lambda: len({server.replica_pid() for _ in range(20)} - {pid}) == 2,
            "another replica",
            START_S,
        )
        assert len(robot.failures) <= 2, robot.failures


def test_an_update_drops_no_question_and_serves_robots_of_both_bundles(
    server: Server, language_files: Path, tmp_path: Path
) -> None:
    other = another_bundle(language_files, tmp_path)
    with pytest.raises(UserError, match="is not served, only"):
        connect(server, other)
    with Asking(connect(server, language_files)) as robot:
        wait_for(lambda: robot.answers > 5, "answers", START_S)
        command = [sys.executable, "-m", "vla_ros.cli.app", "serve", "update", str(other)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=400.0, check=False)
        assert done.returncode == 0, done.stderr
        assert f"serving {other}; robots of {language_files} are served, too" in done.stderr
        answered = robot.answers
        wait_for(lambda: robot.answers > answered + 20, "answers after the update", START_S)
        assert robot.failures == []
    new = connect(server, other)
    found = new.infer(example_inputs(new.describe().inputs))
    assert set(found) == {spec.name for spec in new.describe().outputs}
    new.close()


def test_a_port_that_is_taken_is_refused_before_anything_starts(language_files: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gateway = GatewaySettings(port=taken.getsockname()[1])
        server = Server(ModelSettings(bundle=str(language_files)), gateway)
        with pytest.raises(UserError, match=rf"127\.0\.0\.1:{gateway.port}: .*--port"):
            server.__enter__()
