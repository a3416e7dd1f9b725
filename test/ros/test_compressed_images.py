"""Compressed images through the real subscriptions: decoded aside, the newest first."""

from __future__ import annotations

import array
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, JointState

from vla_ros.contract import DEPTHS, IMAGES, STATE, RobotContract, load_contract
from vla_ros.contract.specs import COMPRESSED
from vla_ros.core.types import Observation
from vla_ros.observation import decompression, image_messages
from vla_ros.observation.intake import make_reader
from vla_ros.ros.joints import write_joint_state
from vla_ros.ros.sample_messages import SampleMessages
from vla_ros.ros.sensor_streams import SensorStreams
from vla_ros.ros.stamps import to_ns, to_time
from vla_ros.testing.topic_robot import TopicRobot
from vla_ros.testing.waiting import wait_for

WIDTH, HEIGHT = 64, 48
FRONT, DEPTH = f"{IMAGES}front", f"{DEPTHS}front"
ENCODINGS = {FRONT: "jpeg", DEPTH: "16UC1"}


def compressed_contract() -> RobotContract:
    """The tabletop with one small RGB-D camera whose images are compressed, and joints."""
    contract = load_contract("tabletop_sim")
    specs = tuple(
        replace(
            spec,
            topic=f"{spec.topic}/compressed",
            type=COMPRESSED,
            encoding=ENCODINGS[spec.feature],
            width=WIDTH,
            height=HEIGHT,
            required=True,
        )
        if spec.feature in ENCODINGS
        else spec
        for spec in contract.observations
        if spec.feature in (*ENCODINGS, STATE)
    )
    return replace(contract, observations=specs)


class Camera:
    """Publishes compressed images and joint states, and subscribes as the policy node does."""

    def __init__(self, robot: TopicRobot) -> None:
        self.contract = compressed_contract()
        self.streams = SensorStreams(robot.node, self.contract, "reliable")
        self.topics = {spec.feature: spec.topic for spec in self.contract.observations}
        self._publishers = {
            name: robot.node.create_publisher(
                JointState if name == STATE else CompressedImage, topic, 10
            )
            for name, topic in self.topics.items()
        }
        for name, publisher in self._publishers.items():
            wait_for(publisher.get_subscription_count, f"{name} to be found")

    def now_ns(self) -> int:
        return self.streams.now_ns()

    def send(self, feature: str, stamp_ns: int, form: str, data: bytes) -> None:
        message = CompressedImage(format=form, data=array.array("B", data))
        message.header.stamp = to_time(stamp_ns)
        self._publishers[feature].publish(message)

    def send_joints(self, stamp_ns: int) -> None:
        names, home = self.contract.action.joints, np.array(self.contract.home)
        self._publishers[STATE].publish(
            write_joint_state(stamp_ns, names, home, np.zeros(len(home)))
        )

    def newest(self, feature: str) -> int | None:
        with self.streams.aligner._lock:
            return self.streams.aligner._streams[feature].newest_ns

    def reaches(self, feature: str, stamp_ns: int) -> None:
        wait_for(lambda: self.newest(feature) == stamp_ns, f"{feature} at {stamp_ns}")

    def not_decoded(self, feature: str) -> object:
        found = {each.name: each.values for each in self.streams.findings()}
        return found[self.topics[feature]]["not_decoded"]

    def fault(self, feature: str) -> str:
        return self.streams.aligner.faults(self.now_ns()).get(feature, "")

    def observe(self, stamp_ns: int) -> Observation:
        return self.streams.aligner.build(stamp_ns, self.now_ns())


@pytest.fixture
def camera(robot: TopicRobot) -> Iterator[Camera]:
    robot.silent |= {spec.topic for spec in robot.contract.observations}
    made = Camera(robot)
    yield made
    made.streams.close()


def encode(pixels: np.ndarray, extension: str) -> bytes:
    done, data = cv2.imencode(extension, pixels)
    assert done
    return bytes(data.tobytes())


def flat(value: int) -> bytes:
    return encode(np.full((HEIGHT, WIDTH, 3), value, np.uint8), ".jpg")


def depth(millimetres: int) -> bytes:
    return bytes(12) + encode(np.full((HEIGHT, WIDTH), millimetres, np.uint16), ".png")


def test_compressed_colours_and_depth_make_an_observation_at_their_stamp(camera: Camera) -> None:
    stamp_ns = camera.now_ns()
    camera.send(DEPTH, stamp_ns, "16UC1; compressedDepth png", depth(750))
    camera.send(FRONT, stamp_ns, "rgb8; jpeg compressed bgr8", flat(90))
    camera.send_joints(stamp_ns)
    for feature in (FRONT, DEPTH, STATE):
        camera.reaches(feature, stamp_ns)
    seen = camera.observe(stamp_ns)
    np.testing.assert_allclose(seen.images["front"].astype(int), 90, atol=2)
    np.testing.assert_allclose(seen.depths["front"], 0.75)


@pytest.mark.parametrize(
    ("feature", "form", "data", "said"),
    [
        (FRONT, "jpeg", flat(90)[:-40], "cannot be decoded: a JPEG of .* that ends too early"),
        (FRONT, "jpeg", b"", "cannot be decoded: 0 bytes that are neither JPEG nor PNG"),
        (FRONT, "png", flat(90), "format is 'png', the contract says 'jpeg'"),
        (DEPTH, "16UC1; compressedDepth rvl", depth(500), "contract says '16UC1; compressedD"),
        (DEPTH, "32FC1; compressedDepth png", depth(500), "format is '32FC1; compressedDepth p"),
        (DEPTH, "16UC1; compressedDepth", depth(0), "no finite point above 0 m"),
    ],
)
def test_what_cannot_be_used_is_said_under_its_topic(
    camera: Camera, feature: str, form: str, data: bytes, said: str
) -> None:
    camera.send(feature, camera.now_ns(), form, data)
    wait_for(lambda: re.search(said, camera.fault(feature)), said)
    camera.streams._started_ns = 0
    finding = next(
        each for each in camera.streams.findings() if each.name == camera.topics[feature]
    )
    assert re.search(said, finding.message)


def test_a_slow_decoder_holds_up_nothing_and_the_newest_image_comes_next(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    decompress = decompression.decompress_rgb
    threads: set[str] = set()

    def slow(*arguments: Any, **named: Any) -> np.ndarray:
        threads.add(threading.current_thread().name)
        begun.set()
        assert go_on.wait(15.0)
        return decompress(*arguments, **named)

    monkeypatch.setattr(image_messages, "decompress_rgb", slow)
    first_ns = camera.now_ns()
    camera.send(FRONT, first_ns, "jpeg", flat(10))
    assert begun.wait(15.0)
    stamps = [first_ns + 1_000_000 * k for k in range(1, 6)]
    for index, stamp_ns in enumerate(stamps):
        camera.send(FRONT, stamp_ns, "jpeg", flat(50 * index))
        camera.send_joints(stamp_ns)
        camera.send(DEPTH, stamp_ns, "16UC1; compressedDepth png", depth(500 + index))
        # the executor takes joint states, and depth is decoded, while the image is not done
        camera.reaches(STATE, stamp_ns)
        camera.reaches(DEPTH, stamp_ns)
    assert camera.newest(FRONT) is None
    wait_for(lambda: camera.not_decoded(FRONT) == 4, "all images to be submitted")
    go_on.set()
    camera.reaches(FRONT, stamps[-1])
    assert all(name.startswith("decoding") for name in threads)
    seen = camera.observe(stamps[-1])
    np.testing.assert_allclose(seen.images["front"].astype(int), 200, atol=3)
    assert camera.not_decoded(FRONT) == 4, "those between were never begun"
    with camera.streams.aligner._lock:
        assert len(camera.streams.aligner._streams[FRONT]._samples) == 2


def test_an_error_of_ours_while_decoding_is_said_and_does_not_end_the_decoding(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **named: Any) -> np.ndarray:
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(image_messages, "decompress_rgb", broken)
        camera.send(FRONT, camera.now_ns(), "jpeg", flat(10))
        wait_for(lambda: "no room" in camera.fault(FRONT), "the error")
    stamp_ns = camera.now_ns()
    camera.send(FRONT, stamp_ns, "jpeg", flat(10))
    camera.reaches(FRONT, stamp_ns)


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_sample_messages_are_what_the_readers_take(encoding: str) -> None:
    contract = compressed_contract()
    specs = [
        replace(spec, encoding=encoding) if spec.feature == DEPTH else spec
        for spec in contract.observations
        if spec.camera
    ]
    samples = SampleMessages(replace(contract, observations=tuple(specs)))
    for spec in specs:
        data = samples.camera(spec, 5_000_000_123, 0)
        message = deserialize_message(data, CompressedImage)
        assert to_ns(message.header.stamp) == 5_000_000_123
        value = np.asarray(make_reader(spec, contract.action.joints)(message), np.float32)
        if spec.feature == DEPTH:
            assert 0.25 < float(value[value > 0].mean()) < 1.25
        else:
            assert value.shape == (HEIGHT, WIDTH, 3)
