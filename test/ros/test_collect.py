"""`vla_ros collect` in simulation: an operator on the network takes over from a policy."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from vla_ros.contract import find_contract
from vla_ros.data.episode import Outcome, State
from vla_ros.data.frames import open_episode
from vla_ros.learning.augmentation.simulated_replay import recorded_scene
from vla_ros.teleop.configuration import find_teleop
from vla_ros.testing.node_process import RunningCommand
from vla_ros.testing.operator_process import OperatorProcess
from vla_ros.testing.waiting import happens, wait_for

FOREVER = "sway forever"


class Desk:
    """An operator's second connection: the recorder's buttons, and what is going on."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.heard: dict[str, dict[str, Any]] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def press(self, command: str, text: str = "") -> None:
        self._connection.send(json.dumps({"type": "record", "command": command, "text": text}))

    def wait_for(self, kind: str, key: str, value: str) -> None:
        """Wait until the newest message of a kind says something."""
        try:
            wait_for(lambda: self._says(kind, key, value), f"{kind} to say {key}: {value}")
        except AssertionError as error:
            raise AssertionError(f"{error}; heard {self.heard}") from None

    def take_the_arm(self, operator: OperatorProcess, **word: Any) -> None:
        """Press until the operator acts: the switch has to be seen released before."""
        for _ in range(10):
            operator.say(engaged=False)
            happens(lambda: False, 0.2)
            operator.say(engaged=True, **word)
            if happens(lambda: self._says("situation", "actor", "operator"), 1.0):
                return
        raise AssertionError(f"the operator does not get the arm; heard {self.heard}")

    def _says(self, kind: str, key: str, value: str) -> bool:
        return self.heard.get(kind, {}).get(key) == value

    def _listen(self) -> None:
        with contextlib.suppress(ConnectionClosed):  # the collection may end first
            for text in self._connection:
                message = json.loads(text)
                self.heard[message["type"]] = message


@pytest.fixture
def start_collecting(tmp_path: Path) -> Iterator[Callable[..., RunningCommand]]:
    """Start `vla_ros collect` with the swaying policy, and what the test adds."""
    started: list[RunningCommand] = []

    def start(*arguments: str) -> RunningCommand:
        command = [sys.executable, "-m", "vla_ros.cli.app", "collect", "--backend", "swaying"]
        command += ["--recordings", str(tmp_path / "recordings"), *arguments]
        started.append(
            RunningCommand("vla_ros collect", command, {**os.environ, "COLUMNS": "300"})
        )
        return started[-1]

    yield start
    for command in started:
        command.end(30.0)


def test_an_operator_takes_over_lets_go_and_the_episode_says_who_acted(
    tmp_path: Path, start_collecting: Callable[..., RunningCommand]
) -> None:
    device = tmp_path / "network.yaml"
    text = find_teleop("network").read_text(encoding="utf-8")
    device.write_text(text.replace("port: 8765", "port: 0"), encoding="utf-8")
    collecting = start_collecting("--teleop", str(device), "--operator", "Ada", "--episodes", "1")
    page = collecting.wait_for_line("operators: http://", 60.0).rpartition(" ")[2]
    collecting.wait_for_line("new scene")
    address = page.replace("http:", "ws:")
    operator = OperatorProcess("network", address)
    try:
        with connect(address, compression=None) as connection:
            desk = Desk(connection)
            desk.wait_for("recording", "state", "idle")
            desk.press("start", FOREVER)
            desk.wait_for("situation", "actor", "policy")
            desk.take_the_arm(operator, mode="joint", axes={"wrist_roll": 0.4})
            operator.say(engaged=False)
            desk.wait_for("situation", "actor", "policy")
            desk.press("success")
            collecting.wait_for_line("1 episodes in", 20.0)
    finally:
        operator.end()
    assert collecting.wait(20.0) == 0
    (folder,) = sorted((tmp_path / "recordings").glob("episode_*"))
    recorded = open_episode(folder)
    about = recorded.info
    assert (about.state, about.outcome) == (State.COMPLETE, Outcome.SUCCESS)
    assert (about.instruction, about.operator) == (FOREVER, "Ada")
    assert (folder / "contract.yaml").read_bytes() == find_contract("tabletop_sim").read_bytes()
    assert recorded_scene(recorded).seed == 0  # it can be replayed in other looks
    told = [message.actor for _, _, message in recorded.messages(["/vla/gate/acting"])]
    turns = [actor for actor, _ in groupby(actor for actor in told if actor)]
    assert turns == ["policy", "operator", "policy"]
    frames = list(recorded.frames())
    assert {"policy", "operator"} <= {frame.actor for frame in frames}
    assert frames[-1].instruction == FOREVER


def test_episodes_without_anybody_are_as_many_as_asked_and_ctrl_c_ends_the_last_one(
    tmp_path: Path, start_collecting: Callable[..., RunningCommand]
) -> None:
    collecting = start_collecting(
        "--teleop", "none", "--instruction", FOREVER, "--episodes", "3", "--seconds", "1.5",
        "--pause", "0.5", "--outcome", "failure",
    )  # fmt: skip
    collecting.wait_for_line("started episode 1", 60.0)
    collecting.wait_for_line("recording episode 1")
    assert collecting.end(30.0) == 130  # an episode is missing
    assert "everything is shut down" in collecting.output
    folders = sorted((tmp_path / "recordings").glob("episode_*"))
    episodes = [open_episode(folder).info for folder in folders]
    assert [item.state for item in episodes] == [State.COMPLETE, State.COMPLETE]
    assert [item.outcome for item in episodes] == [Outcome.FAILURE, Outcome.UNKNOWN]
    assert all(item.instruction == FOREVER for item in episodes)
