"""What is read from a recording is what the policy node saw, bit for bit, for every topic type.

The real policy node and the real recorder run on a clock that this test advances; the episode is
then read without ROS 2.
"""

from __future__ import annotations

import threading
from collections import Counter
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
from vla_ros.data.episode import CONTRACT, Episode, State
from vla_ros.data.frames import open_episode
from vla_ros.data.recording.settings import Arrival
from vla_ros.nodes import policy as policy_module
from vla_ros.nodes.policy import PolicyNode
from vla_ros.nodes.recorder import RecorderNode
from vla_ros.ros.joints import CommandCodec
from vla_ros.ros.lifecycle import ManagedNode
from vla_ros.ros.qos import command_qos, event_qos, latched_qos
from vla_ros.ros.sample_messages import SampleMessages
from vla_ros.ros.sensor_streams import MESSAGE_TYPES
from vla_ros.ros.stamps import to_time
from vla_ros.testing.waiting import wait_for

WIDTH, HEIGHT, TICK_NS, TICKS = 32, 24, 10_000_000, 72
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


class WatchedRecorder(RecorderNode):
    """The recorder, which tells how many messages of each topic it has taken."""

    def __init__(self, contract: Path, folder: Path) -> None:
        super().__init__()
        self.set_parameters([Parameter("use_sim_time", value=True)])
        self.declare_parameter("contract", str(contract))
        self.declare_parameter("folder", str(folder))
        self.counts: Counter[str] = Counter()

    def start(self) -> None:
        super().start()
        assert self._topics is not None
        receive = self._topics._receive

        def count(arrival: Arrival) -> None:
            receive(arrival)
            self.counts[arrival.topic] += 1

        self._topics._receive = count

    def begin(self) -> Path:
        assert self._recorder is not None
        return self._recorder.begin("watch").result(10.0)

    def end(self) -> Episode:
        assert self._recorder is not None
        return self._recorder.end().result(10.0)


class Stage:
    """Publishes a contract's messages instant by instant, and waits until all have them."""

    def __init__(self, node: Node, watched: WatchedNode, recorder: WatchedRecorder) -> None:
        self.watched, self.recorder = watched, recorder
        self.contract = watched._contract
        self.samples, self.sent = SampleMessages(self.contract), Counter[str]()
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
        for node in (self.watched, self.recorder):
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
        self._wait(lambda: self.sent.items() <= self.recorder.counts.items(), "the recorder")
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
        executor.remove_node(node)
        # in the thread that spins it, where none of its callbacks runs meanwhile
        ended = executor.create_task(partial(_end, node))
        wait_for(ended.done, "the node to be gone")


def _end(node: Node) -> None:
    if isinstance(node, ManagedNode):
        node.bring_down()
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
    monkeypatch.setattr(policy_module, "SETTLE_S", 0.5)
    contract = write_contract(tmp_path, command_type)
    policy = Watcher(contract.action.joints)
    watched = WatchedNode(tmp_path / CONTRACT, policy)
    own, recorder = rclpy.create_node("stage"), WatchedRecorder(tmp_path / CONTRACT, tmp_path)
    for node in (watched, own, recorder):
        recording_nodes.append(node)
        executor.add_node(node)
    watched.bring_up()
    recorder.bring_up()
    stage = Stage(own, watched, recorder)
    stage.instruction.publish(String(data="watch"))
    wait_for(lambda: watched._started == "watch", "the instruction")

    folder = recorder.begin()
    start_ns = 1_700_000_000_000_000_000
    for tick in range(TICKS):
        stage.play(tick, start_ns + tick * TICK_NS)
        if tick % 3 == 0:
            stamp_ns = start_ns + tick * TICK_NS
            wait_for(partial(_inferred, policy, watched, stamp_ns), "the inference")
    assert recorder.end().state is State.COMPLETE

    frames = {frame.stamp_ns: frame for frame in open_episode(folder).frames()}
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
