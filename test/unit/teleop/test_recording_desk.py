"""The operator's page and the recorder's buttons, over a real socket."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from vla_ros.core.resources import resource_path
from vla_ros.teleop.intent import Mode
from vla_ros.teleop.network import NetworkDevice
from vla_ros.teleop.network_settings import NetworkSettings
from vla_ros.teleop.pages import Page
from vla_ros.teleop.recording_desk import DeskCommand, DeskRequest
from vla_ros.testing.waiting import wait_for

TOKEN = "a-token"
AXES = {Mode.JOINT: ("pan", "lift")}


class NotedRequests:
    """A desk that notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[DeskRequest] = []

    def ask(self, request: DeskRequest) -> None:
        self.asked.append(request)

    def report(self) -> Mapping[str, Any]:
        return {"state": "recording", "episode": "episode_000003", "said": "started"}


@pytest.fixture
def desk() -> NotedRequests:
    return NotedRequests()


@pytest.fixture
def device(desk: NotedRequests) -> Iterator[NetworkDevice]:
    page = Page(type="text/html; charset=utf-8", body=b"<!DOCTYPE html>")
    settings = NetworkSettings(port=0, token=TOKEN)
    made = NetworkDevice(settings, AXES, pages={"/": page}, desk=desk)
    made.start()
    yield made
    made.stop()


def hear(connection: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        message = json.loads(connection.recv(timeout=5.0))
        if message["type"] == kind:
            return dict(message)


def test_the_page_and_the_socket_are_behind_one_token(device: NetworkDevice) -> None:
    address = f"127.0.0.1:{device.port}/"
    with urllib.request.urlopen(f"http://{address}?token={TOKEN}") as answer:
        assert answer.read() == b"<!DOCTYPE html>"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    for wrong in ("", "?token=", "?token=other", f"?token={TOKEN}&token=other"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://{address}{wrong}")
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"ws://{address}{wrong}")


def test_a_page_of_this_server_may_connect_from_another_machine(device: NetworkDevice) -> None:
    address = f"ws://127.0.0.1:{device.port}/?token={TOKEN}"
    with connect(address, origin=Origin("http://192.168.0.7:8765")) as connection:
        assert hear(connection, "welcome")["axes"] == {"joint": ["pan", "lift"]}


def test_without_a_token_pages_of_other_sites_may_not_connect(desk: NotedRequests) -> None:
    device = NetworkDevice(NetworkSettings(port=0), AXES, desk=desk)
    device.start()
    try:
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"ws://127.0.0.1:{device.port}/", origin=Origin("https://elsewhere.example"))
        with connect(
            f"ws://127.0.0.1:{device.port}/", origin=Origin("http://localhost:8000")
        ) as one:
            hear(one, "welcome")
    finally:
        device.stop()


def test_the_recorders_buttons_reach_the_desk_and_its_state_the_operator(
    device: NetworkDevice, desk: NotedRequests
) -> None:
    with connect(f"ws://127.0.0.1:{device.port}/?token={TOKEN}") as connection:
        assert hear(connection, "recording")["episode"] == "episode_000003"
        start = {"type": "record", "command": "start", "text": " lift the übergroße cube "}
        connection.send(json.dumps(start))
        connection.send(json.dumps({"type": "record", "command": "success"}))
        wait_for(lambda: len(desk.asked) == 2, "both requests")
    assert desk.asked == [
        DeskRequest(command=DeskCommand.START, text="lift the übergroße cube"),
        DeskRequest(command=DeskCommand.SUCCESS),
    ]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"command": "format"}, "command: expected one of start, stop, success, failure, discard"),
        ({"command": ["start"]}, "command: expected one of"),
        ({}, "command: expected one of"),
        ({"command": "start", "text": 7}, "text: expected a line of at most 500 characters"),
        ({"command": "start", "text": "a\nb"}, "text: expected a line"),
        ({"command": "start", "text": "x" * 501}, "text: expected a line"),
    ],
)
def test_what_is_no_command_is_refused_by_name_and_reaches_nobody(
    device: NetworkDevice, desk: NotedRequests, message: dict[str, Any], reason: str
) -> None:
    with connect(f"ws://127.0.0.1:{device.port}/?token={TOKEN}") as connection:
        connection.send(json.dumps({"type": "record", **message}))
        assert hear(connection, "refused")["reason"].startswith(reason)
    assert desk.asked == []


def test_the_shipped_page_is_one_file_that_loads_nothing() -> None:
    page = resource_path("config/web/operator.html").read_text(encoding="utf-8")
    for outside in ("src=", "href=", "@import", "url(", "http://", "https://"):
        assert outside not in page
