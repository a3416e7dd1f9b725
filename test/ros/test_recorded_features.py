"""What is read from a recording is what the policy node saw, bit for bit, for every topic type.

The real policy node runs on a clock that this test advances. Beside it the raw messages are
written to an episode, which is then read without ROS 2.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
import yaml
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String

from vla_ros.contract import FeatureKind, RobotContract, find_contract, load_contract
from vla_ros.core.types import ActionChunk, Observation
from vla_ros.data.episode import CONTRACT, Episode, State, write_episode
from vla_ros.data.frames import open_episode
from vla_ros.data.message_definitions import message_definition
from vla_ros.data.message_file import MessageFile, TopicSpec
from vla_ros.nodes import policy as policy_module
from vla_ros.nodes.policy import PolicyNode
from vla_ros.ros.joints import CommandCodec
from vla_ros.ros.qos import command_qos, event_qos, latched_qos
from vla_ros.ros.sample_messages import SampleMessages
from vla_ros.ros.sensor_streams import MESSAGE_TYPES
from vla_ros.ros.stamps import to_time
from vla_ros.testing.waiting import wait_for

WIDTH, HEIGHT, TICK_NS, TICKS = 32, 24, 10_000_000, 90
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
#: Every type and encoding that a contract may have of a camera.
CAMERAS = {
    "observation.images.a": (IMAGE, "rgb8"),
    "observation.images.b": (IMAGE, "bgr8"),
    "observation.images.c": (IMAGE, "mono8"),
    "observation.images.d": (IMAGE, "rgba8"),
    "observation.images.e": (IMAGE, "bgra8"),
    "observation.images.f": (COMPRESSED, "jpeg"),
    "observation.images.g": (COMPRESSED, "png"),
    "observation.depth.a": (IMAGE, "32FC1"),
    "observation.depth.b": (IMAGE, "16UC1"),
    "observation.depth.f": (COMPRESSED, "16UC1"),
    "observation.depth.g": (COMPRESSED, "32FC1"),
}
VECTORS = ("state", "imu", "command")
COMMANDS = (
    "std_msgs/msg/Float64MultiArray",
    "sensor_msgs/msg/JointState",
    "trajectory_msgs/msg/JointTrajectory",
)


def write_contract(folder: Path, command_type: str) -> RobotContract:
    """Write the tabletop's contract with a camera of every kind."""
    values = yaml.safe_load(find_contract("tabletop_sim").read_text("utf-8"))
    other = {
        name: values["observations"][name] for name in ("observation.imu", "observation.state")
    }
    cameras = {
        feature: {
            "topic": f"/camera/{feature.replace('observation.', '').replace('.', '_')}",
            "type": kind,
            "encoding": encoding,
            "width": WIDTH,
            "height": HEIGHT,
            "rate_hz": 30,
            "frame": "front_camera_optical",
            "max_age_s": 0.15,
            "required": feature in ("observation.images.a", "observation.images.f"),
        }
        for feature, (kind, encoding) in CAMERAS.items()
    }
    values["observations"] = cameras | other
    values["action"]["command"] = {"topic": "/commands", "type": command_type}
    (folder / CONTRACT).write_text(yaml.safe_dump(values, sort_keys=False), "utf-8")
    return load_contract(folder / CONTRACT)


class Watcher:
    """A policy that keeps what it is given."""

    name, bundle_sha256 = "watcher", "0" * 64

    def __init__(self, joints: tuple[str, ...]) -> None:
        self.joints, self.seen = joints, dict[int, Observation]()

    def start(self, instruction: str) -> None:
        self.started = instruction

    def infer(self, observation: Observation) -> ActionChunk:
        self.seen[observation.stamp_ns] = observation
        return ActionChunk(
            stamp_ns=observation.stamp_ns,
            step_s=0.05,
            joint_names=self.joints,
            positions=np.tile(observation.state.astype(float), (2, 1)),
        )


class WatchedNode(PolicyNode):
    """The policy node, with that policy in place of a bundle's."""

    def __init__(self, contract: Path, policy: Watcher) -> None:
        super().__init__()
        self._watcher = policy
        self.set_parameters([Parameter("use_sim_time", value=True)])
        given = {
            "contract": str(contract),
            "bundle": "",
            "instruction_timeout_s": 0.0,
            "sensor_reliability": "reliable",
        }
        for name, value in given.items():
            self.declare_parameter(name, value)

    def _load(self, bundle: str) -> Any:
        return self._watcher


class RawRecorder:
    """Writes the raw messages of a contract's topics, with the clock of the stamps."""

    def __init__(self, node: Node, folder: Path, contract: RobotContract) -> None:
        self._node, self._file = node, MessageFile(folder / "episode_000000_0.mcap")
        action = contract.action
        command = CommandCodec(action.command.type, action.joints, contract.control_period_s)
        self.counts = {item.topic: 0 for item in contract.observations} | {action.command.topic: 0}
        for item in contract.observations:
            self._listen(item.topic, item.type, MESSAGE_TYPES[item.type])
        self._listen(action.command.topic, action.command.type, command.message_type)

    def _listen(self, topic: str, name: str, kind: type) -> None:
        self._file.add_topic(TopicSpec(name=topic, type=name, definition=message_definition(name)))

        def receive(data: bytes) -> None:
            now_ns = self._node.get_clock().now().nanoseconds
            self._file.add(topic, data, now_ns, now_ns)
            self.counts[topic] += 1

        self._node.create_subscription(kind, topic, receive, event_qos(), raw=True)

    def close(self) -> None:
        self._file.close()


class Stage:
    """Publishes a contract's messages instant by instant, and waits until all have them."""

    def __init__(self, node: Node, watched: WatchedNode, recorder: RawRecorder) -> None:
        self.watched, self.recorder = watched, recorder
        self.contract = watched._contract
        self.samples, self.sent = SampleMessages(self.contract), dict.fromkeys(recorder.counts, 0)
        self.rng, action = np.random.default_rng(0), self.contract.action
        self.codec = CommandCodec(action.command.type, action.joints, 0.01)
        self.clock = node.create_publisher(Clock, "/clock", command_qos())
        self.instruction = node.create_publisher(String, "/vla/instruction", latched_qos())
        self.publishers = {
            item.topic: node.create_publisher(MESSAGE_TYPES[item.type], item.topic, event_qos())
            for item in self.contract.observations
        }
        self.publishers[action.command.topic] = node.create_publisher(
            self.codec.message_type, action.command.topic, command_qos()
        )
        for topic, publisher in self.publishers.items():
            wait_for(partial(_heard, publisher), f"{topic} to be heard")

    def advance(self, now_ns: int) -> None:
        """Let time pass, for both nodes."""
        self.clock.publish(Clock(clock=to_time(now_ns)))
        for node in (self.watched, self.recorder._node):
            self._wait(lambda n=node: n.get_clock().now().nanoseconds == now_ns, "the clock")

    def send(self, topic: str, message: Any) -> None:
        self.sent[topic] += 1
        self.publishers[topic].publish(message)

    def play(self, tick: int, now_ns: int) -> None:
        """Send what comes in one period: joints, IMU and a command, then all cameras."""
        self.advance(now_ns)
        contract, action = self.contract, self.contract.action
        where = np.array(contract.home) + 0.01 * self.rng.standard_normal(len(contract.home))
        for spec in contract.observations:
            if spec.kind is FeatureKind.IMU:
                self.send(spec.topic, self.samples.imu(spec, now_ns - 2_000_000))
            elif spec.kind is FeatureKind.STATE:  # a little later: the state is interpolated
                self.send(spec.topic, self.samples.joints(where, now_ns + 1_000_000))
        self.send(action.command.topic, self.codec.write(where, now_ns - 3_000_000))
        self._settle()
        if tick % 3:
            return
        cameras = [spec for spec in contract.observations if spec.camera]
        if tick == 0:  # streams that were never heard are not waited for
            cameras.append(cameras.pop(0))
        for spec in cameras:
            if spec.feature.endswith(".g") and tick % 30 == 15:
                continue
            if tick == 0 and spec is cameras[-1]:
                self._settle()
            self.send(spec.topic, self.samples.camera(spec, now_ns, tick // 3))
        self._settle()

    def _settle(self) -> None:
        streams, memory = self.watched._streams, self.watched._commands
        self._wait(lambda: self.recorder.counts == self.sent, "the recorder")
        commands = self.sent[self.contract.action.command.topic]
        self._wait(lambda: memory.history.received == commands, "the commands")
        for feature, spec in streams._specs.items():
            if self.sent[spec.topic]:
                self._wait(lambda f=feature: self._counted(f), feature)

    def _counted(self, feature: str) -> bool:
        streams = self.watched._streams
        decoded = streams._decoding is None or not streams._decoding.pending
        topic = streams._specs[feature].topic
        return decoded and len(streams._rates[feature]._arrivals) == self.sent[topic]

    @staticmethod
    def _wait(condition: Any, what: str) -> None:
        for _ in range(20000):
            if condition():
                return
            threading.Event().wait(0.0005)
        raise AssertionError(f"waited 10 s for {what}")


def _heard(publisher: Any) -> bool:
    return bool(publisher.get_subscription_count() >= 2)


def _inferred(policy: Watcher, watched: WatchedNode, stamp_ns: int) -> bool:
    return stamp_ns in policy.seen or bool(watched._fault)


@pytest.fixture
def recording_nodes(executor: SingleThreadedExecutor) -> Iterator[list[Node]]:
    nodes: list[Node] = []
    yield nodes
    for node in nodes:
        if isinstance(node, WatchedNode):
            node.bring_down()
        executor.remove_node(node)
        node.destroy_node()


@pytest.mark.parametrize("command_type", COMMANDS)
def test_features_of_a_recording_are_those_that_the_policy_was_given(
    executor: SingleThreadedExecutor,
    recording_nodes: list[Node],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command_type: str,
) -> None:
    # a slow machine must not make the node give up on what this test is about to send
    monkeypatch.setattr(policy_module, "SETTLE_S", 1.0)
    contract = write_contract(tmp_path, command_type)
    policy = Watcher(contract.action.joints)
    watched = WatchedNode(tmp_path / CONTRACT, policy)
    own = rclpy.create_node("stage")
    recording = rclpy.create_node(
        "raw_recorder", parameter_overrides=[Parameter("use_sim_time", value=True)]
    )
    for node in (watched, own, recording):
        recording_nodes.append(node)
        executor.add_node(node)
    watched.bring_up()
    recorder = RawRecorder(recording, tmp_path, contract)
    stage = Stage(own, watched, recorder)
    stage.instruction.publish(String(data="watch"))
    wait_for(lambda: watched._started == "watch", "the instruction")

    start_ns = 1_700_000_000_000_000_000
    for tick in range(TICKS):
        stage.play(tick, start_ns + tick * TICK_NS)
        if tick % 3 == 0:
            stamp_ns = start_ns + tick * TICK_NS
            wait_for(partial(_inferred, policy, watched, stamp_ns), "the inference")
    recorder.close()
    write_episode(tmp_path, Episode(number=0, state=State.COMPLETE, instruction="watch"))

    frames = {frame.stamp_ns: frame for frame in open_episode(tmp_path).frames()}
    assert sorted(frames) == sorted(policy.seen)
    assert len(frames) >= TICKS // 3 - 1
    for stamp_ns, seen in policy.seen.items():
        assert_identical(frames[stamp_ns].observation, seen)
        assert frames[stamp_ns].instruction == "watch"
    last = max(policy.seen)
    assert set(policy.seen[last].images) == {*"abcdefg"}
    assert set(policy.seen[last].depths) == {*"abfg"}
    assert policy.seen[last].imu is not None
    assert policy.seen[last].command is not None


def assert_identical(read: Observation, seen: Observation) -> None:
    """Check that two observations have the same bits."""
    assert set(read.images) == set(seen.images)
    assert set(read.depths) == set(seen.depths)
    pairs: list[tuple[Any, Any]] = [
        (read.state, seen.state),
        (read.imu, seen.imu),
        (read.command, seen.command),
    ]
    pairs += [(read.images[name], seen.images[name]) for name in seen.images]
    pairs += [(read.depths[name], seen.depths[name]) for name in seen.depths]
    for ours, theirs in pairs:
        if theirs is None or ours is None:
            assert ours is theirs
            continue
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert ours.tobytes() == theirs.tobytes()
