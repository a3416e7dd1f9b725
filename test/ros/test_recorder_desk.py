"""The recorder's buttons of operators on the network, with the real recorder and without one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_ros.core.conventions import NAMESPACE, SCENE_TOPIC
from vla_ros.data.episode import Outcome, episode_folders, read_episode
from vla_ros.ros.qos import latched_qos
from vla_ros.ros.recorder_desk import RecorderDesk
from vla_ros.teleop.recording_desk import DeskCommand, DeskRequest
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import NodeProcess
from vla_ros.testing.waiting import wait_for

INSTRUCTION = f"{NAMESPACE}/instruction"


@pytest.fixture
def desk(executor: SingleThreadedExecutor) -> Iterator[RecorderDesk]:
    node = rclpy.create_node("desk", namespace=NAMESPACE)
    executor.add_node(node)
    yield RecorderDesk(node, operator="Ada")
    executor.remove_node(node)
    destroyed = executor.create_task(node.destroy_node)
    wait_for(destroyed.done, "the node to be gone")


def ask(desk: RecorderDesk, command: str, said: str, text: str = "") -> None:
    """Press a button and wait for what comes of it."""
    desk.ask(DeskRequest(command=DeskCommand(command), text=text))
    try:
        wait_for(lambda: said in desk.report()["said"], f"'{said}' after {command}")
    except AssertionError as error:
        raise AssertionError(f"{error}; the desk says {desk.report()}") from None


def wait_for_recorders(listener: Listener, count: int) -> None:
    """Wait until so many are known: one that ended just before may still be, and takes calls."""
    service = f"{NAMESPACE}/recorder/start"
    wait_for(lambda: listener.node.count_services(service) == count, f"{count} recorders", 30.0)


def test_without_a_recorder_the_operator_is_told_what_is_missing(
    desk: RecorderDesk, listener: Listener
) -> None:
    wait_for_recorders(listener, 0)
    assert desk.report()["state"] == "absent"
    ask(desk, "success", "label: the recorder does not answer: is it running?")


def test_buttons_record_an_episode_and_tell_the_policy_as_long_as_it_lasts(
    desk: RecorderDesk,
    listener: Listener,
    start_node: Callable[..., NodeProcess],
    tmp_path: Path,
) -> None:
    listener.listen(String, INSTRUCTION, latched_qos())
    start_node("recorder", folder=str(tmp_path / "kept")).wait_active()
    wait_for(lambda: desk.report()["state"] == "idle", "the recorder to be idle")
    wait_for_recorders(listener, 1)
    ask(desk, "success", "label refused: ")  # there is no episode yet
    ask(desk, "start", "start: recording ", text="lift it")
    wait_for(lambda: len(listener.heard[INSTRUCTION]) >= 3, "the instruction to be repeated")
    assert {message.data for message in listener.heard[INSTRUCTION]} == {"lift it"}
    assert desk.report()["state"] == "recording"
    ask(desk, "failure", "stop: episode_000000: ")
    wait_for(lambda: listener.last(INSTRUCTION).data == "", "the policy to be told to rest")
    ask(desk, "success", "label: episode_000000: success")  # afterwards
    ask(desk, "discard", "is discarded")
    ask(desk, "undo", "is back")
    (folder,) = episode_folders(tmp_path / "kept")
    episode = read_episode(folder)
    assert (episode.outcome, episode.operator) == (Outcome.SUCCESS, "Ada")
    assert episode.instruction == "lift it"


def test_an_episode_that_is_started_without_words_has_those_of_the_simulated_scene(
    desk: RecorderDesk,
    listener: Listener,
    start_node: Callable[..., NodeProcess],
    tmp_path: Path,
) -> None:
    scene = listener.node.create_publisher(String, SCENE_TOPIC, latched_qos())
    scene.publish(String(data=json.dumps({"seed": 3, "instruction": "lift the ball"})))
    start_node("recorder", folder=str(tmp_path / "kept")).wait_active()
    wait_for(lambda: desk.report()["sentence"] == "lift the ball", "the scene's sentence")
    wait_for_recorders(listener, 1)
    ask(desk, "start", "start: recording ")
    ask(desk, "stop", "stop: episode_000000: ")
    (folder,) = episode_folders(tmp_path / "kept")
    episode = read_episode(folder)
    assert episode.instruction == "lift the ball"


def test_an_episode_that_another_ends_tells_the_policy_nothing_more(
    desk: RecorderDesk,
    listener: Listener,
    start_node: Callable[..., NodeProcess],
    tmp_path: Path,
) -> None:
    listener.listen(String, INSTRUCTION, latched_qos())
    start_node("recorder", folder=str(tmp_path / "kept")).wait_active()
    wait_for(lambda: desk.report()["state"] == "idle", "the recorder to be idle")
    wait_for_recorders(listener, 1)
    ask(desk, "start", "start: recording ", text="lift it")
    assert listener.call(Trigger, "/vla/recorder/stop", Trigger.Request()).success
    wait_for(lambda: listener.last(INSTRUCTION).data == "", "the policy to be told to rest")
