"""Asks the recorder for episodes, hears how it goes, and tells the policy what to do meanwhile."""

from __future__ import annotations

import time
from typing import Any

from std_srvs.srv import Trigger
from vla_ros_interfaces.msg import Acting, RecorderStatus
from vla_ros_interfaces.srv import LabelEpisode, ResetScene, ScoreScene, StartEpisode

from vla_ros.core.conventions import NAMESPACE
from vla_ros.core.errors import UserError
from vla_ros.ros.episode_instruction import EpisodeInstruction
from vla_ros.ros.graph_client import GraphClient
from vla_ros.ros.qos import latched_qos

RECORDER = f"{NAMESPACE}/recorder"
#: A simulator lays a scene within this time [s].
RESET_S = 15.0


class RecorderClient:
    """One that collects: starts, ends and labels episodes.

    Attributes:
        status: The newest `RecorderStatus`; None before the first.
        actor: Who moves the robot: "policy", "operator", or "" while nobody does.
    """

    def __init__(self, client: GraphClient) -> None:
        """Hear and call with the node of `client`."""
        self._client = client
        self.status: Any = None
        self.actor = ""
        self._heard_s = time.monotonic()
        self._instruction = EpisodeInstruction(client.node, topic=f"{NAMESPACE}/instruction")
        node, qos = client.node, latched_qos()
        node.create_subscription(RecorderStatus, f"{RECORDER}/status", self._on_status, qos)
        node.create_subscription(Acting, f"{NAMESPACE}/gate/acting", self._on_acting, qos)

    @property
    def silent_s(self) -> float:
        """How long ago the recorder was heard last, or this began [s]."""
        return time.monotonic() - self._heard_s

    def wait_ready(self, timeout_s: float) -> None:
        """Return when the recorder is heard.

        Raises:
            UserError: if that takes longer than `timeout_s` [s].
        """
        self._client.wait_for(
            lambda: self.status is not None, timeout_s, f"nothing is heard on {RECORDER}/status"
        )

    def start(self, instruction: str, operator: str) -> str:
        """Begin an episode, and tell the policy what to do; return the episode's folder.

        Raises:
            UserError: if the recorder refuses, with its reason, or does not answer.
        """
        request = StartEpisode.Request(instruction=instruction, operator_name=operator)
        answer = self._call(StartEpisode, "start", request)
        self._instruction.begin(instruction)
        return str(answer.path)

    def stop(self) -> str:
        """End the episode; return what the recorder says.

        Raises:
            UserError: if the recorder refuses, with its reason, or does not answer.
        """
        try:
            return str(self._call(Trigger, "stop", Trigger.Request()).message)
        finally:
            self._instruction.end()

    def label(self, outcome: str, text: str = "") -> str:
        """Say of the episode that is recorded, or of the last one, what came of it.

        Raises:
            UserError: if the recorder refuses, with its reason, or does not answer.
        """
        request = LabelEpisode.Request(outcome=outcome, text=text)
        return str(self._call(LabelEpisode, "label", request).message)

    def discard(self) -> str:
        """Put the episode that is recorded, or the last one, aside.

        Raises:
            UserError: if the recorder refuses, with its reason, or does not answer.
        """
        try:
            return str(self._call(Trigger, "discard", Trigger.Request()).message)
        finally:
            self._instruction.end()

    def undo(self) -> str:
        """Take back what was discarded last.

        Raises:
            UserError: if the recorder refuses, with its reason, or does not answer.
        """
        return str(self._call(Trigger, "undo", Trigger.Request()).message)

    def lay_scene(self, seed: int, split: str, skill: str) -> str:
        """Lay the simulator's table anew; return the sentence that belongs to the scene.

        Raises:
            UserError: if the simulator refuses, with its reason, or does not answer.
        """
        name = f"{NAMESPACE}/sim/reset"
        request = ResetScene.Request(suite="core", split=split, skill=skill, seed=seed)
        answer = self._client.call(ResetScene, name, request, timeout_s=RESET_S)
        if not answer.success:
            raise UserError(f"{name}: {answer.message}")
        return str(answer.instruction)

    def judge(self) -> bool:
        """Return whether the simulator's physics says that the task is done.

        Raises:
            UserError: if the simulator does not answer.
        """
        answer = self._client.call(ScoreScene, f"{NAMESPACE}/sim/score", ScoreScene.Request())
        return bool(answer.success and not answer.violated)

    def _call(self, service: type, name: str, request: Any) -> Any:
        answer = self._client.call(service, f"{RECORDER}/{name}", request)
        if not answer.success:
            raise UserError(f"{name}: {answer.message}")
        return answer

    def _on_status(self, message: RecorderStatus) -> None:
        self.status, self._heard_s = message, time.monotonic()
        self._instruction.notice(recording=message.state == RecorderStatus.RECORDING)

    def _on_acting(self, message: Acting) -> None:
        self.actor = message.actor
