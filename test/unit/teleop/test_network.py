"""Operators who come over the network, through the real server."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from vla_ros.core.errors import UserError
from vla_ros.teleop.intent import Intent, Mode, OperatorState, Situation
from vla_ros.teleop.network import NetworkDevice
from vla_ros.teleop.network_settings import NetworkSettings
from vla_ros.teleop.pages import Page
from vla_ros.testing.waiting import never, wait_for

AXES = {Mode.END_EFFECTOR: ("x", "y", "z", "gripper"), Mode.JOINT: ("elbow_flex",)}


@pytest.fixture
def server() -> Iterator[NetworkDevice]:
    pages = {"/": Page(type="text/html", body=b"<p>operate</p>")}
    device = NetworkDevice(NetworkSettings(port=0), AXES, pages=pages)
    device.start()
    yield device
    device.stop()


class Client:
    """A client that sends back the newest tick."""

    def __init__(self, device: NetworkDevice, query: str = "", **options: Any) -> None:
        url = f"ws://127.0.0.1:{device.port}/{query}"
        self.socket: ClientConnection = connect(
            url, compression=None, **options
        ).__enter__()  # closed by whoever made the client
        self.greeting = json.loads(self.socket.recv(timeout=5.0))
        self.situation = self.hear("situation")

    def hear(self, kind: str) -> dict[str, Any]:
        """Return the next message of a kind."""
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline:
            message: dict[str, Any] = json.loads(self.socket.recv(timeout=5.0))
            if message["type"] == kind:
                return message
        raise AssertionError(f"no {kind} came")

    def move(self, **changes: Any) -> None:
        self.situation = self.hear("situation")
        message = {
            "type": "move",
            "tick": self.situation["tick"],
            "engaged": True,
            "axes": {"x": 0.5},
            **changes,
        }
        self.socket.send(json.dumps(message))

    def press(self) -> None:
        self.move(engaged=False)
        self.move(engaged=True)


@pytest.fixture
def client(server: NetworkDevice) -> Iterator[Client]:
    made = Client(server)
    yield made
    made.socket.close()


def said(server: NetworkDevice, **wanted: Any) -> Intent:
    """Wait for an intent with these values."""

    def find() -> Intent | None:
        intent = server.read(time.monotonic_ns())
        if intent and all(getattr(intent, key) == value for key, value in wanted.items()):
            return intent
        return None

    found = wait_for(find, f"an intent with {wanted}")
    assert found is not None
    return found


def test_a_client_is_told_what_it_may_say(client: Client) -> None:
    assert client.greeting["version"] == 1
    assert client.greeting["axes"]["end_effector"] == ["x", "y", "z", "gripper"]
    assert client.situation["state"] == "idle"


def test_what_a_client_wants_is_read_with_the_time_it_came(
    server: NetworkDevice, client: Client
) -> None:
    before_ns = time.monotonic_ns()
    client.press()
    intent = said(server, engaged=True)
    assert intent.axes == {"x": 0.5}
    assert intent.mode is Mode.END_EFFECTOR
    assert before_ns <= intent.time_ns <= time.monotonic_ns()


def test_a_client_is_told_how_it_stands(server: NetworkDevice, client: Client) -> None:
    server.tell(Situation(state=OperatorState.ENGAGED, actor="operator"))
    client.press()
    wait_for(lambda: client.hear("situation")["yours"], "the arm to be this client's")
    assert client.hear("situation")["state"] == "engaged"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "expected JSON"),
        ("[]", "expected an object, got list"),
        ('{"type": "jump"}', "type: expected move, got 'jump'"),
        ('{"type": "move", "tick": 1, "engaged": 1}', "engaged: expected true or false, got 1"),
        ('{"type": "move", "engaged": true}', "tick: expected the newest tick, got None"),
        ('{"type": "move", "tick": 1e400, "engaged": true}', "tick: expected the newest tick"),
        ('{"type": "move", "tick": 1, "engaged": true, "now": 1}', "now: unknown; expected type"),
        (
            '{"type": "move", "tick": 1, "engaged": true, "mode": "base"}',
            "mode: expected one of end_effector, joint, got 'base'",
        ),
        (
            '{"type": "move", "tick": 1, "engaged": true, "axes": {"x": NaN}}',
            "axes.x: expected a number from -1 to 1, got nan",
        ),
        (
            '{"type": "move", "tick": 1, "engaged": true, "axes": {"x": 1' + 400 * "0" + "}}",
            "axes.x: expected a number from -1 to 1",
        ),
        (
            '{"type": "move", "tick": 1, "engaged": true, "axes": {"w": 0}}',
            "axes.w: unknown; expected x, y, z, gripper",
        ),
        (
            '{"type": "move", "tick": 1, "engaged": true, "speed": 0}',
            "speed: expected a number above 0, up to 1, got 0",
        ),
        (
            '{"type": "move", "tick": 1, "engaged": true, "positions": {"elbow_flex": "far"}}',
            "positions.elbow_flex: expected a number from -100 to 100, got 'far'",
        ),
    ],
)
def test_what_cannot_be_understood_is_answered_and_not_obeyed(
    server: NetworkDevice, client: Client, text: str, reason: str
) -> None:
    client.socket.send(text)
    assert reason in client.hear("refused")["reason"]
    assert server.read(time.monotonic_ns()) is None


def test_a_message_that_the_network_held_back_is_refused(
    server: NetworkDevice, client: Client
) -> None:
    client.move(engaged=False)
    client.move(tick=client.situation["tick"] - 400)
    assert "at most 0.25 s counts" in client.hear("refused")["reason"]
    assert not said(server, engaged=False).engaged


def test_the_second_operator_has_to_wait_and_to_press_again(
    server: NetworkDevice, client: Client
) -> None:
    client.press()
    said(server, engaged=True, axes={"x": 0.5})
    second = Client(server)
    second.move(engaged=False)
    second.move(axes={"y": 1.0})
    assert "another operator has the arm" in second.hear("refused")["reason"]
    client.move(engaged=False)
    said(server, engaged=False)
    second.move(axes={"y": 1.0})
    assert "release the switch" in second.hear("refused")["reason"]
    second.move(engaged=False)
    second.move(axes={"y": 1.0})
    said(server, engaged=True, axes={"y": 1.0})
    second.socket.close()


def test_a_connection_that_ends_is_silence_and_not_letting_go(
    server: NetworkDevice, client: Client
) -> None:
    bystander = Client(server)
    client.press()
    said(server, engaged=True)
    client.socket.close()
    for _ in range(3):
        bystander.move(engaged=False)
    intent = server.read(time.monotonic_ns())
    assert intent is not None
    assert intent.engaged
    never(
        lambda: (i := server.read(0)) is not None and i.time_ns > intent.time_ns,
        "somebody spoke for the operator who is gone",
        0.02,
    )
    bystander.socket.close()


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost.evil.example"])
def test_pages_of_other_web_sites_are_refused(server: NetworkDevice, origin: str) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        Client(server, origin=origin)


def test_pages_of_this_machine_may_connect(server: NetworkDevice) -> None:
    client = Client(server, origin=f"http://127.0.0.1:{server.port}")
    client.press()
    assert said(server, engaged=True)
    client.socket.close()


def test_without_the_token_nobody_comes_in() -> None:
    device = NetworkDevice(NetworkSettings(port=0, token="secret"), AXES)
    device.start()
    try:
        for query in ("", "?token=wrong"):
            with pytest.raises(InvalidStatus, match="403"):
                Client(device, query)
        Client(device, "?token=secret").socket.close()
    finally:
        device.stop()


def test_other_machines_are_let_in_with_a_token_only() -> None:
    with pytest.raises(UserError, match=r"set network\.token, or listen on 127\.0\.0\.1"):
        NetworkSettings(host="0.0.0.0")
    NetworkSettings(host="0.0.0.0", token="secret")


def test_a_browser_gets_the_pages_and_nothing_else(server: NetworkDevice) -> None:
    root = f"http://127.0.0.1:{server.port}/"
    with urllib.request.urlopen(root, timeout=5.0) as answer:
        assert (answer.read(), answer.headers["Content-Type"]) == (b"<p>operate</p>", "text/html")
    with pytest.raises(HTTPError, match="404"):
        urllib.request.urlopen(f"{root}etc/passwd", timeout=5.0)


def test_a_port_that_is_taken_is_named(server: NetworkDevice) -> None:
    second = NetworkDevice(NetworkSettings(port=server.port), AXES)
    with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1:{server.port}"):
        second.start()
    second.stop()
