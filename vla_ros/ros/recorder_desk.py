"""The recorder's services for operators who come over the network."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger
from vla_ros_interfaces.msg import RecorderStatus
from vla_ros_interfaces.srv import LabelEpisode, StartEpisode

from vla_ros.core.conventions import SCENE_TOPIC
from vla_ros.ros.episode_instruction import EpisodeInstruction
from vla_ros.ros.qos import latched_qos

#: How often commands are taken up [s].
TURN_S = 0.05
#: Silent for this long, the recorder is gone [s].
SILENCE_S = 3.0
#: A service that has not answered for this long does not any more [s].
ANSWER_S = 15.0
STATES = {
    RecorderStatus.IDLE: "idle",
    RecorderStatus.RECORDING: "recording",
    RecorderStatus.WATCHING: "watching",
}
SERVICES: Mapping[str, type] = {
    "start": StartEpisode,
    "stop": Trigger,
    "label": LabelEpisode,
    "discard": Trigger,
    "undo": Trigger,
}


class RecorderDesk:
    """Takes commands from any thread; the node's executor calls the services one by one.

    While an episode runs that was started here, the policy is told to do its instruction. One
    that is started without words has those of the simulated scene, if there is one.
    """

    def __init__(self, node: Node, operator: str = "") -> None:
        """Call and hear with `node`, whose namespace is the recorder's.

        Args:
            node: Is spun by somebody else.
            operator: Who records.
        """
        self._operator = operator
        self._clients = {
            name: node.create_client(kind, f"recorder/{name}") for name, kind in SERVICES.items()
        }
        self._wanted: deque[Any] = deque()
        self._calls: deque[tuple[str, Any]] = deque()
        self._called_s: float | None = None
        self._number = 0
        self._said = ""
        self._sentence = ""
        self._status: Any = None
        self._heard_s = 0.0
        self._instruction = EpisodeInstruction(node)
        node.create_subscription(RecorderStatus, "recorder/status", self._on_status, latched_qos())
        node.create_subscription(String, SCENE_TOPIC, self._on_scene, latched_qos())
        self._timer = node.create_timer(TURN_S, self._take_up)

    def ask(self, request: Any) -> None:
        """Take a `DeskRequest`; it is done in a moment."""
        self._wanted.append(request)

    def report(self) -> Mapping[str, Any]:
        """Return what operators are told."""
        status = self._status or RecorderStatus()
        absent = time.monotonic() - self._heard_s > SILENCE_S
        return {
            "state": "absent" if absent else STATES.get(status.state, "?"),
            "episode": Path(status.path).name,
            "instruction": status.instruction,
            "duration_s": round(status.duration_s, 2),
            "messages": status.messages,
            "lost": status.lost,
            "disk_free_gb": round(status.disk_free * 1e-9, 1),
            "episodes": status.episodes,
            "sentence": self._sentence,
            "warnings": list(status.warnings),
            "said": self._said,
        }

    def _take_up(self) -> None:
        """Make calls of what was asked, and make the next call."""
        while self._wanted:
            self._calls.extend(self._steps(self._wanted.popleft()))
        if self._called_s is not None and time.monotonic() - self._called_s > ANSWER_S:
            self._called_s, self._said = None, "the recorder does not answer"
            self._calls.clear()
        if self._calls and self._called_s is None:
            self._call(*self._calls.popleft())

    def _steps(self, request: Any) -> list[tuple[str, Any]]:
        """Return the services to be called, one after the other, with their requests."""
        name = str(request.command)
        if name == "start":
            who = self._operator
            words = request.text or self._sentence
            return [(name, StartEpisode.Request(instruction=words, operator_name=who))]
        if name not in ("success", "failure"):
            return [(name, Trigger.Request())]
        steps: list[tuple[str, Any]] = [("label", LabelEpisode.Request(outcome=name))]
        if self._status is not None and self._status.state == RecorderStatus.RECORDING:
            steps.append(("stop", Trigger.Request()))
        return steps

    def _call(self, name: str, request: Any) -> None:
        client = self._clients[name]
        if not client.service_is_ready():
            self._calls.clear()
            self._said = f"{name}: the recorder does not answer: is it running?"
            return
        self._called_s = time.monotonic()
        self._number = number = self._number + 1

        def take(done: Any) -> None:
            if number == self._number and self._called_s is not None:  # else it is too late
                self._on_answer(name, request, done.result())

        client.call_async(request).add_done_callback(take)

    def _on_answer(self, name: str, request: Any, answer: Any) -> None:
        self._called_s = None
        if not answer.success:
            self._calls.clear()  # what was to follow made sense after this alone
        elif name == "start":
            self._instruction.begin(request.instruction)
        elif name in ("stop", "discard"):
            self._instruction.end()
        word = "" if answer.success else " refused"
        self._said = f"{name}{word}: {answer.message}" if answer.message else f"{name}{word}"

    def _on_scene(self, message: String) -> None:
        try:
            self._sentence = str(json.loads(message.data)["instruction"])
        except (ValueError, KeyError, TypeError):  # a scene without a sentence, or none of ours
            self._sentence = ""

    def _on_status(self, message: RecorderStatus) -> None:
        self._status, self._heard_s = message, time.monotonic()
        self._instruction.notice(recording=message.state == RecorderStatus.RECORDING)
