"""The node `recorder` beside a robot made of topics."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader
from std_msgs.msg import String
from std_srvs.srv import Trigger
from vla_ros_interfaces.msg import RecorderStatus
from vla_ros_interfaces.srv import LabelEpisode, SaveRecent, StartEpisode

from vla_ros.contract import load_contract
from vla_ros.core.stamps import to_ns
from vla_ros.data.episode import Outcome, State, message_files, read_episode
from vla_ros.data.message_definitions import typestore
from vla_ros.ros.qos import latched_qos
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import NodeProcess
from vla_ros.testing.topic_robot import TopicRobot
from vla_ros.testing.waiting import wait_for

StartNode = Callable[..., NodeProcess]
STATUS = "/vla/recorder/status"
FRONT = "/camera/front/image_raw"
CONTRACT_TOPICS = {item.topic for item in load_contract("tabletop_sim").observations}


@pytest.fixture
def status(listener: Listener) -> Callable[[], Any]:
    """Listen to the recorder; gives a function that returns its newest status."""
    listener.listen(RecorderStatus, STATUS, latched_qos())
    return lambda: listener.last(STATUS)


@pytest.fixture
def start_recorder(
    robot: TopicRobot, start_node: StartNode, status: Callable[[], Any], tmp_path: Path
) -> Callable[..., NodeProcess]:
    """Start a recorder, and wait until it hears the robot."""

    def start(**parameters: Any) -> NodeProcess:
        process = start_node("recorder", folder=str(tmp_path / "recording"), **parameters)
        process.wait_active()
        wait_for(lambda: status() is not None and heard(status()) >= CONTRACT_TOPICS, "the robot")
        return process

    return start


def heard(message: RecorderStatus) -> set[str]:
    """Return the topics that come at some rate."""
    return {name for name, hz in zip(message.topics, message.rates_hz, strict=True) if hz > 1.0}


def begin(listener: Listener, text: str = "push the cube") -> Path:
    request = StartEpisode.Request(instruction=text, operator_name="ada")
    answer = listener.call(StartEpisode, "/vla/recorder/start", request)
    assert answer.success, answer.message
    return Path(answer.path)


def trigger(listener: Listener, name: str) -> Trigger.Response:
    return listener.call(Trigger, f"/vla/recorder/{name}", Trigger.Request())


def recorded_for(status: Callable[[], Any], seconds: float) -> None:
    wait_for(
        lambda: status().state == RecorderStatus.RECORDING and status().duration_s > seconds,
        f"{seconds} s to be recorded",
    )


def test_an_episode_is_what_the_robot_sent_in_counts_stamps_and_pixels(
    robot: TopicRobot,
    listener: Listener,
    status: Callable[[], Any],
    start_recorder: Callable[..., NodeProcess],
) -> None:
    sent: dict[str, list[int]] = {}
    for spec in robot.contract.observations:
        robot.spoil[spec.topic] = _remember(sent.setdefault(spec.topic, []))
    start_recorder()
    folder = begin(listener)
    first_ns = robot.now_ns()
    recorded_for(status, 1.5)
    last_ns = robot.now_ns()
    assert set(status().topics) >= CONTRACT_TOPICS
    assert (status().instruction, status().lost) == ("push the cube", 0)
    assert trigger(listener, "stop").success
    found: dict[str, list[int]] = {}
    with AnyReader([folder], default_typestore=typestore()) as bag:
        for connection, log_ns, data in bag.messages():
            message: Any = bag.deserialize(data, connection.msgtype)
            if connection.topic in CONTRACT_TOPICS:
                stamp_ns = to_ns(message.header.stamp)
                found.setdefault(connection.topic, []).append(stamp_ns)
                assert 0 <= log_ns - stamp_ns < 200_000_000
            if connection.topic == FRONT:
                assert (np.asarray(message.data) == 90).all()
    for topic, stamps in sent.items():
        due = [stamp for stamp in list(stamps) if first_ns < stamp < last_ns - 200_000_000]
        assert len(due) > 20
        assert [stamp for stamp in found[topic] if due[0] <= stamp <= due[-1]] == due, topic
    (path,) = message_files(folder)
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        assert sum(1 for _ in reader.iter_messages()) == sum(read_episode(folder).topics.values())


def test_start_stop_label_discard_and_undo(
    listener: Listener, status: Callable[[], Any], start_recorder: Callable[..., NodeProcess]
) -> None:
    start_recorder()
    folder = begin(listener)
    wait_for(lambda: status().state == RecorderStatus.RECORDING, "it to record")
    request = LabelEpisode.Request(outcome="success", text="at the edge")
    assert listener.call(LabelEpisode, "/vla/recorder/label", request).success
    answer = trigger(listener, "stop")
    assert answer.success
    assert "episode_000000" in answer.message
    episode = read_episode(folder)
    assert (episode.state, episode.outcome) == (State.COMPLETE, Outcome.SUCCESS)
    assert (episode.operator, episode.label) == ("ada", "at the edge")
    wait_for(lambda: status().state == RecorderStatus.IDLE and status().episodes == 1, "idle")
    assert trigger(listener, "discard").success
    assert not folder.exists()
    assert trigger(listener, "undo").success
    assert folder.exists()
    refused = trigger(listener, "stop")
    assert (refused.success, refused.message) == (False, "no episode is being recorded")
    request = LabelEpisode.Request(outcome="perhaps")
    answer = listener.call(LabelEpisode, "/vla/recorder/label", request)
    assert not answer.success
    assert "expected one of '', 'success', 'failure', got 'perhaps'" in answer.message


def test_a_camera_that_falls_silent_is_warned_of_while_it_is_recorded(
    robot: TopicRobot,
    listener: Listener,
    status: Callable[[], Any],
    start_recorder: Callable[..., NodeProcess],
) -> None:
    start_recorder()
    folder = begin(listener)
    recorded_for(status, 0.2)
    robot.silent.add(FRONT)
    wait_for(lambda: any(f"{FRONT}: silent for" in w for w in status().warnings), "a warning")
    trigger(listener, "stop")
    assert any(FRONT in warning for warning in read_episode(folder).warnings)


def test_the_last_seconds_are_saved_after_the_fact_with_the_instruction_before_them(
    robot: TopicRobot,
    listener: Listener,
    status: Callable[[], Any],
    start_recorder: Callable[..., NodeProcess],
) -> None:
    publisher = robot.node.create_publisher(String, "/vla/instruction", latched_qos())
    publisher.publish(String(data="stack the blocks"))
    start_recorder(recent_s=1.0)
    first = status()
    assert first.state == RecorderStatus.WATCHING
    began_s = to_ns(first.header.stamp) * 1e-9
    wait_for(lambda: to_ns(status().header.stamp) * 1e-9 > began_s + 1.0, "a second to be kept")
    request = SaveRecent.Request(seconds=0.5)
    answer = listener.call(SaveRecent, "/vla/recorder/save_recent", request)
    assert answer.success, answer.message
    episode = read_episode(Path(answer.path))
    assert episode.instruction == "stack the blocks"
    assert 0.3 < episode.duration_s < 0.7
    assert episode.topics["/vla/instruction"] == 1
    assert set(episode.topics) >= CONTRACT_TOPICS


def test_a_recorder_that_is_killed_is_mended_by_the_next_and_no_episode_before_it_is_touched(
    listener: Listener, status: Callable[[], Any], start_recorder: Callable[..., NodeProcess]
) -> None:
    process = start_recorder()
    earlier = begin(listener, "first")
    recorded_for(status, 0.3)
    cut = begin(listener, "second")
    before = {path.name: path.read_bytes() for path in earlier.iterdir()}
    recorded_for(status, 1.5)
    killed_ns = listener.node.get_clock().now().nanoseconds
    process.signal(signal.SIGKILL)
    process.wait()
    listener.heard[STATUS].clear()
    start_recorder()
    episode = read_episode(cut)
    assert episode.state is State.CUT
    assert 1e-9 * (killed_ns - episode.end_ns) < 1.0
    assert {path.name: path.read_bytes() for path in earlier.iterdir()} == before


def test_a_list_of_topics_is_all_that_is_recorded(
    listener: Listener,
    robot: TopicRobot,
    start_node: StartNode,
    status: Callable[[], Any],
    tmp_path: Path,
) -> None:
    start_node("recorder", folder=str(tmp_path), topics=f"{FRONT} /imu").wait_active()
    wait_for(lambda: status() is not None and heard(status()) == {FRONT, "/imu"}, "two topics")
    folder = begin(listener)
    recorded_for(status, 0.5)
    trigger(listener, "stop")
    assert set(read_episode(folder).topics) == {FRONT, "/imu"}


def test_a_folder_that_another_recorder_uses_ends_the_node_with_one_clear_message(
    start_node: StartNode, tmp_path: Path
) -> None:
    start_node("recorder", folder=str(tmp_path)).wait_active()
    second = start_node("recorder", folder=str(tmp_path))
    assert second.wait(30.0) == 78
    assert "another recorder works in this folder" in second.output


def test_ros2_bag_info_knows_an_episode(
    listener: Listener, status: Callable[[], Any], start_recorder: Callable[..., NodeProcess]
) -> None:
    if shutil.which("ros2") is None:
        pytest.skip("ros2 is not installed here: it comes with ROS 2 from apt, not from PyPI")
    known = subprocess.run(["ros2", "bag", "info", "--help"], capture_output=True, check=False)
    if known.returncode:
        pytest.skip("this ros2 has no `bag`")
    start_recorder()
    folder = begin(listener)
    recorded_for(status, 0.5)
    trigger(listener, "stop")
    done = subprocess.run(
        ["ros2", "bag", "info", str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    count = sum(read_episode(folder).topics.values())
    assert f"Messages:          {count}" in done.stdout


def _remember(stamps: list[int]) -> Callable[[Any], None]:
    def remember(message: Any) -> None:
        stamps.append(to_ns(message.header.stamp))

    return remember
