"""Publishes what was recorded on the topics of a contract, at its pace."""

from __future__ import annotations

import array
import importlib
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String

from vla_ros.contract import ACTION, FeatureKind, ObservationSpec, RobotContract
from vla_ros.core.conventions import NAMESPACE
from vla_ros.core.errors import UserError
from vla_ros.observation.decompression import DEPTH_HEADER
from vla_ros.ros.images import write_image
from vla_ros.ros.imu import write_imu
from vla_ros.ros.joints import CommandCodec, write_joint_state
from vla_ros.ros.qos import event_qos, latched_qos
from vla_ros.ros.stamps import NANOSECONDS, to_time

#: A serialized message begins with four bytes that tell the order of bytes; then comes the stamp.
STAMP_AT = 4
#: An instruction is said again this often [s]: a policy forgets one that nobody repeats.
REPEATED_S = 0.3
#: cv2 conversions of RGB into a contract's encodings; None: it already is.
FROM_RGB: dict[str, int | None] = {
    "rgb8": None,
    "bgr8": cv2.COLOR_RGB2BGR,
    "rgba8": cv2.COLOR_RGB2RGBA,
    "bgra8": cv2.COLOR_RGB2BGRA,
    "mono8": cv2.COLOR_RGB2GRAY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedMessage:
    """A message that is published again.

    Attributes:
        topic: Where.
        type: Of the message, such as `sensor_msgs/msg/Image`.
        data: The message as CDR.
        time_ns: When it came [ns], by the clock of the stamps.
        stamped: Whether it begins with a header.
        text: The instruction, if it is one; it is repeated until the next.
    """

    topic: str
    type: str
    data: bytes
    time_ns: int
    stamped: bool
    text: str = ""


class Replay:
    """Publishes messages at the pace at which they came.

    Attributes:
        published: Messages by topic, so far.
    """

    def __init__(self, node: Node, *, rate: float = 1.0, keep_stamps: bool = False) -> None:
        """Publish with `node`.

        Args:
            node: Whose clock stamps are shifted to.
            rate: Pace; 2 is twice as fast.
            keep_stamps: Leave stamps as they are and publish `/clock`, for nodes with
                `use_sim_time`; else stamps are shifted to now.

        Raises:
            UserError: if the rate is not above 0.
        """
        if not rate > 0.0:
            raise UserError(f"rate: expected a number above 0, got {rate:g}")
        self._node, self._rate, self._keep = node, rate, keep_stamps
        self._publishers: dict[str, Any] = {}
        self._clock = node.create_publisher(Clock, "/clock", event_qos()) if keep_stamps else None
        self.published: dict[str, int] = {}

    def announce(self, topics: Mapping[str, str]) -> None:
        """Make the publishers of topics, by name, so that subscribers find them before the start.

        Raises:
            UserError: if a type is not installed.
        """
        for topic, kind in topics.items():
            qos = latched_qos() if kind == "std_msgs/msg/String" else event_qos()
            self._publishers[topic] = self._node.create_publisher(message_class(kind), topic, qos)

    def run(
        self,
        messages: Iterable[ReplayedMessage],
        stopping: threading.Event,
        on_time: Callable[[float], None] | None = None,
    ) -> None:
        """Publish messages until they end, or it is to stop.

        Args:
            messages: In the order of their times, on topics that were announced.
            stopping: Set to stop.
            on_time: Is told how far it is [s of the recording].
        """
        begun_s = time.monotonic()
        now_ns = int(self._node.get_clock().now().nanoseconds)
        first_ns: int | None = None
        said: tuple[str, bytes] | None = None
        repeat_s = 0.0
        for message in messages:
            first_ns = message.time_ns if first_ns is None else first_ns
            at_s = 1e-9 * (message.time_ns - first_ns)
            while (left_s := begun_s + at_s / self._rate - time.monotonic()) > 0.0:
                if stopping.wait(min(left_s, REPEATED_S)):
                    return
                if said and time.monotonic() - repeat_s > REPEATED_S:
                    self._publishers[said[0]].publish(said[1])
                    repeat_s = time.monotonic()
            if stopping.is_set():
                return
            if message.text:
                said, repeat_s = (message.topic, message.data), time.monotonic()
            self._publish(message, first_ns, now_ns)
            if on_time is not None:
                on_time(at_s)

    def _publish(self, message: ReplayedMessage, first_ns: int, now_ns: int) -> None:
        data = message.data
        if self._clock is not None:
            self._clock.publish(Clock(clock=to_time(message.time_ns)))
        elif message.stamped:
            data = self._shift(data, first_ns, now_ns)
        self._publishers[message.topic].publish(data)
        self.published[message.topic] = self.published.get(message.topic, 0) + 1

    def _shift(self, data: bytes, first_ns: int, now_ns: int) -> bytes:
        layout = "<iI" if data[1] & 1 else ">iI"
        sec, nanosec = struct.unpack_from(layout, data, STAMP_AT)
        since_ns = sec * NANOSECONDS + nanosec - first_ns
        shifted = bytearray(data)
        stamp_ns = now_ns + round(since_ns / self._rate)
        struct.pack_into(layout, shifted, STAMP_AT, *divmod(stamp_ns, NANOSECONDS))
        return bytes(shifted)


class RowMessages:
    """Makes a contract's messages of a dataset's rows: each image, a joint state, IMU readings.

    A row holds the last IMU readings before it: all of the first row are sent, and of the others
    those that are new, stamped at their rate.
    """

    def __init__(self, contract: RobotContract, fps: float, instruction_topic: str) -> None:
        """Expect rows of features of `contract`, `fps` of them a second."""
        self._contract, self._fps, self._instruction = contract, fps, instruction_topic
        action = contract.action
        self._codec = CommandCodec(action.command.type, action.joints, contract.control_period_s)
        self._text, self._owed, self._first = "", 0.0, True

    def make(
        self, row: Mapping[str, Any], time_ns: int, *, commands: bool
    ) -> list[ReplayedMessage]:
        """Return the messages of a row at a time [ns].

        Args:
            row: Values by feature, and `task`.
            time_ns: Of the row; the messages are stamped with it.
            commands: Whether the action is sent too, as a command.
        """
        found = []
        if row["task"] != self._text:
            self._text = str(row["task"])
            text = String(data=self._text)
            found.append(
                self._message(self._instruction, "std_msgs/msg/String", text, time_ns, self._text)
            )
        for item in self._contract.observations:
            if item.feature not in row:
                continue
            value = np.asarray(row[item.feature])
            if item.kind is FeatureKind.IMU:
                found += self._readings(item, value, time_ns)
            else:
                message = self._sense(item, value, time_ns)
                found.append(self._message(item.topic, item.type, message, time_ns))
        if commands:
            command = self._contract.action.command
            due_ns = time_ns + round(1e9 / self._fps)  # a row's action is in force by the next
            message = self._codec.write(np.asarray(row[ACTION], np.float64), due_ns)
            found.append(self._message(command.topic, command.type, message, due_ns))
        return sorted(found, key=lambda each: each.time_ns)

    def _readings(
        self, item: ObservationSpec, window: NDArray[Any], time_ns: int
    ) -> list[ReplayedMessage]:
        self._owed += item.rate_hz / self._fps
        count = len(window) if self._first else min(int(self._owed), len(window))
        self._owed, self._first = self._owed - int(self._owed), False
        found = []
        for back in reversed(range(count)):
            at_ns = time_ns - round(back * 1e9 / item.rate_hz)
            reading = np.asarray(window[len(window) - 1 - back], np.float64)
            message = write_imu(reading, stamp_ns=at_ns, frame_id=item.frame)
            found.append(self._message(item.topic, item.type, message, at_ns))
        return found

    def _sense(self, item: ObservationSpec, value: NDArray[Any], time_ns: int) -> Any:
        if item.kind is FeatureKind.STATE:
            positions = np.asarray(value, np.float64)
            still = np.zeros(len(positions))
            return write_joint_state(time_ns, self._contract.action.joints, positions, still)
        if item.compressed:
            return _compressed(item, value, time_ns)
        if item.kind is FeatureKind.DEPTH:
            pixels = (
                np.rint(1000.0 * value).astype(np.uint16) if item.encoding == "16UC1" else value
            )
        else:
            conversion = FROM_RGB[item.encoding]
            pixels = value if conversion is None else cv2.cvtColor(value, conversion)
        return write_image(pixels, encoding=item.encoding, stamp_ns=time_ns, frame_id=item.frame)

    def _message(
        self, topic: str, kind: str, message: Any, time_ns: int, text: str = ""
    ) -> ReplayedMessage:
        return ReplayedMessage(
            topic=topic if topic.startswith("/") else f"{NAMESPACE}/{topic}",
            type=kind,
            data=bytes(serialize_message(message)),
            time_ns=time_ns,
            stamped=hasattr(message, "header"),
            text=text,
        )


def message_class(name: str) -> type:
    """Return the class of a message type such as `sensor_msgs/msg/Image`.

    Raises:
        UserError: if its package is not installed.
    """
    package, _, kind = name.partition("/msg/")
    try:
        found: type = getattr(importlib.import_module(f"{package}.msg"), kind)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{name}: this message type is not installed here: {error}") from error
    return found


def _compressed(item: ObservationSpec, value: NDArray[Any], time_ns: int) -> CompressedImage:
    """Return a compressed image as the usual transports send it."""
    header, form = b"", item.encoding
    if item.kind is FeatureKind.DEPTH:
        header, form = DEPTH_HEADER.pack(0, 0.0, 0.0), f"{item.encoding}; compressedDepth png"
        pixels = np.rint(1000.0 * value).astype(np.uint16)
        if item.encoding == "32FC1":  # inverse depth: a / (stored - b) [m], to 1 % at 1 m
            a, b = 100.0 * 101.0, 1.0 - 100.0 * 101.0 / 10.0
            header = DEPTH_HEADER.pack(0, a, b)
            stored = np.where(value > 0.0, a / np.maximum(value, 1e-6) + b, 0.0)
            pixels = np.clip(np.rint(stored), 0, 65535).astype(np.uint16)
    else:
        pixels = cv2.cvtColor(value, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg" if item.encoding == "jpeg" else ".png", pixels)
    message = CompressedImage(format=form, data=array.array("B", header + data.tobytes()))
    message.header.stamp = to_time(time_ns)
    message.header.frame_id = item.frame
    return message
