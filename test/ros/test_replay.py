"""What was recorded comes out as topics again, from MCAP and from a LeRobotDataset."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.serialization import deserialize_message

from vla_ros.cli.data_replay import open_source
from vla_ros.contract import load_contract
from vla_ros.core.errors import UserError
from vla_ros.data.episode import CONTRACT
from vla_ros.data.frames import Frame, open_episode
from vla_ros.data.lerobot.conversion import convert
from vla_ros.data.lerobot.features import DatasetFeatures
from vla_ros.data.lerobot.staging import Conversion
from vla_ros.observation.image_messages import read_depth, read_rgb
from vla_ros.observation.intake import make_reader
from vla_ros.ros.qos import event_qos
from vla_ros.ros.replay import Replay, RowMessages, message_class
from vla_ros.ros.stamps import to_ns
from vla_ros.testing.small_recordings import SmallEpisode, draw, write_small_recording
from vla_ros.testing.waiting import wait_for

FRONT, DEPTH, JOINTS = "/camera/front/image_raw", "/camera/front/depth", "/joint_states"
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
COMMANDS = "/forward_position_controller/commands"


class Audience:
    """A node that publishes a replay, and one that keeps all that comes."""

    def __init__(self, executor: SingleThreadedExecutor) -> None:
        self.executor = executor
        self.stage, self.listener = (rclpy.create_node(name) for name in ("stage", "audience"))
        for node in (self.stage, self.listener):
            executor.add_node(node)
        self.heard: dict[str, list[Any]] = {}

    def play(self, source: Path, *, commands: bool = False, **values: Any) -> Replay:
        topics, messages = open_source(source, 0, "", commands=commands)
        player = Replay(self.stage, **values)
        player.announce(topics)
        for topic, kind in {**topics, COMMANDS: "std_msgs/msg/Float64MultiArray"}.items():
            self.heard[topic] = []
            heard = self.heard[topic].append
            self.listener.create_subscription(message_class(kind), topic, heard, event_qos(1000))
        for topic in topics:
            wait_for(partial(self._connected, topic), f"{topic} to be heard")
        player.run(messages, threading.Event())
        for topic, count in player.published.items():
            if topic in topics and topic != "/vla/instruction":
                wait_for(partial(self._complete, topic, count), topic)
        return player

    def _complete(self, topic: str, count: int) -> bool:
        return len(self.heard[topic]) >= count

    def _connected(self, topic: str) -> bool:
        return bool(self.stage.count_subscribers(topic))

    def close(self) -> None:
        for node in (self.stage, self.listener):
            self.executor.remove_node(node)
            ended = self.executor.create_task(node.destroy_node)
            wait_for(ended.done, "the node to be gone")


@pytest.fixture
def audience(executor: SingleThreadedExecutor) -> Iterator[Audience]:
    made = Audience(executor)
    yield made
    made.close()


@pytest.fixture(scope="module")
def episode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    return write_small_recording(folder, [SmallEpisode(length_s=0.8)])[0]


def test_a_recording_is_published_with_its_pixels_at_its_pace_and_no_commands(
    audience: Audience, episode: Path
) -> None:
    before_ns = audience.stage.get_clock().now().nanoseconds
    player = audience.play(episode, rate=2.0)
    recorded = open_episode(episode)
    sent = [message for _, _, message in recorded.messages({FRONT})]
    heard = audience.heard[FRONT]
    assert player.published[FRONT] == len(sent) == len(heard)
    for ours, theirs in zip(heard, sent, strict=True):
        assert bytes(ours.data) == theirs.data.tobytes()
    stamps = np.array([to_ns(message.header.stamp) for message in heard])
    assert before_ns <= stamps[0] <= before_ns + 15_000_000_000, "they are shifted to now"
    steps = np.diff([to_ns(message.header.stamp) for message in sent])
    np.testing.assert_allclose(np.diff(stamps), steps / 2.0, atol=1)
    assert audience.heard["/vla/instruction"][0].data == "lift the red cube"
    assert not audience.heard[COMMANDS], "commands move a robot"


def test_stamps_can_be_kept_and_the_clock_goes_with_them(
    audience: Audience, episode: Path
) -> None:
    clock: list[Any] = []
    kind = message_class("rosgraph_msgs/msg/Clock")
    audience.listener.create_subscription(kind, "/clock", clock.append, event_qos(1000))
    player = audience.play(episode, rate=4.0, keep_stamps=True, commands=True)
    stamps = [to_ns(message.header.stamp) for message in audience.heard[JOINTS]]
    assert stamps == open_episode(episode).stamps(JOINTS).tolist()
    assert len(audience.heard[COMMANDS]) == player.published[COMMANDS] == 80
    wait_for(lambda: clock and to_ns(clock[-1].clock) >= stamps[-1], "the clock")


def test_a_dataset_is_published_as_the_observations_that_it_was_made_of(
    audience: Audience, episode: Path, tmp_path: Path
) -> None:
    contract = load_contract(episode / CONTRACT)
    kept = DatasetFeatures(contract=contract, depth="float32", storage="png")
    dataset = tmp_path / "dataset"
    convert([episode], dataset, Conversion(features=kept), writer="own", workers=1)
    audience.play(dataset, rate=4.0, keep_stamps=True)
    frames = {f.stamp_ns: f for f in open_episode(episode).frames() if not kept.missing(f)}
    check(audience, FRONT, frames, "images")
    check(audience, DEPTH, frames, "depths")
    states = audience.heard[JOINTS]
    for message, frame in zip(states, frames.values(), strict=True):
        np.testing.assert_array_equal(np.float32(message.position), frame.observation.state)
    readings = np.array([message.angular_velocity.z for message in audience.heard["/imu"]])
    window = next(iter(frames.values())).observation.imu
    assert window is not None
    np.testing.assert_array_equal(np.float32(readings[:20]), window[:, 2])


def check(audience: Audience, topic: str, frames: dict[int, Frame], kind: str) -> None:
    """Check that images of the front camera are those of the frames."""
    heard = {to_ns(message.header.stamp): message for message in audience.heard[topic]}
    assert set(heard) == set(frames)
    for stamp_ns, message in heard.items():
        seen = getattr(frames[stamp_ns].observation, kind)["front"]
        if kind == "images":
            read: Any = read_rgb(message, topic="", encoding="rgb8", width=32, height=24)
        else:
            read = read_depth(message, topic="", encoding="32FC1", width=32, height=24)
        np.testing.assert_array_equal(read, seen)


#: Kinds of cameras, and how far what is sent may be from the row's: levels of 255, or a part.
KINDS = [
    ("observation.images.front", IMAGE, "rgb8", 0.0),
    ("observation.images.front", IMAGE, "bgr8", 0.0),
    ("observation.images.front", IMAGE, "rgba8", 0.0),
    ("observation.images.front", IMAGE, "bgra8", 0.0),
    ("observation.images.front", COMPRESSED, "png", 0.0),
    ("observation.images.front", COMPRESSED, "jpeg", 40.0),
    ("observation.depth.front", IMAGE, "32FC1", 0.0),
    ("observation.depth.front", IMAGE, "16UC1", 0.0),
    ("observation.depth.front", COMPRESSED, "16UC1", 0.0),
    ("observation.depth.front", COMPRESSED, "32FC1", 0.01),
]


@pytest.mark.parametrize(("feature", "kind", "encoding", "tolerance"), KINDS)
def test_a_row_becomes_a_message_that_the_nodes_read_again(
    episode: Path, feature: str, kind: str, encoding: str, tolerance: float
) -> None:
    contract = load_contract(episode / CONTRACT)
    item = replace(contract.observation(feature), type=kind, encoding=encoding)
    contract = replace(contract, observations=(item,))
    value: Any = draw(contract.observation(feature), np.random.default_rng(0))
    if feature.startswith("observation.depth"):
        metres = draw(replace(item, type=IMAGE, encoding="32FC1"), np.random.default_rng(0))
        value = np.float32(np.round(1000.0 * metres)) * np.float32(0.001)
        value[0, 0] = 0.0
    made = RowMessages(contract, 30.0, "/vla/instruction").make(
        {feature: value, "task": "look"}, 5_000_000_000, commands=False
    )
    assert [message.topic for message in made] == ["/vla/instruction", item.topic]
    message = deserialize_message(made[1].data, message_class(kind))
    assert to_ns(message.header.stamp) == 5_000_000_000
    read: Any = make_reader(item, contract.action.joints)(message)
    if tolerance == 0.0:
        np.testing.assert_array_equal(read, value)
    elif feature.startswith("observation.depth"):
        np.testing.assert_allclose(read, value, rtol=tolerance)
    else:
        assert np.abs(read.astype(float) - value).mean() < tolerance


def test_an_episode_that_is_not_there_and_a_pace_that_is_none_are_named(
    audience: Audience, episode: Path
) -> None:
    with pytest.raises(UserError, match="has episodes 0 to 0, no 3"):
        open_source(episode, 3, "", commands=False)
    with pytest.raises(UserError, match="rate: expected a number above 0, got 0"):
        Replay(audience.stage, rate=0.0)
