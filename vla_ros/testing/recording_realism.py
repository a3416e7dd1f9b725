"""Simulated recordings made to look like real ones: what sensors and networks do to messages.

Latencies that differ by topic, jitter, lost messages, noise, encoders' steps, holes in depth.
"""

from __future__ import annotations

import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from vla_ros.data.episode import message_files, read_episode, write_episode
from vla_ros.data.episode_index import has_header, stamp_of
from vla_ros.data.message_definitions import message_definition
from vla_ros.data.message_file import MessageFile, RecordedMessage, TopicSpec, read_messages
from vla_ros.data.quality.stamps import with_stamp
from vla_ros.testing.recordings import EPOCH_NS

FRONT, WRIST = "/camera/front/image_raw", "/camera/wrist/image_raw"
FRONT_DEPTH, WRIST_DEPTH = "/camera/front/depth", "/camera/wrist/depth"
JOINTS, IMU = "/joint_states", "/imu"
COMMANDS, INSTRUCTION = "/forward_position_controller/commands", "/vla/instruction"

#: From stamp to reception [s], in the middle, by topic; others come at once.
LATENCIES_S = {
    FRONT: 0.018, WRIST: 0.012, FRONT_DEPTH: 0.024, WRIST_DEPTH: 0.020, JOINTS: 0.002, IMU: 0.001,
}  # fmt: skip
#: It varies by this, to both sides [s].
JITTER_S = 0.003
#: Part of the messages of sensors and commands that is lost.
LOST = 0.003
#: Steps of a 12-bit encoder [rad], noise of gyro [rad/s] and accelerometer [m/s^2].
ENCODER_RAD, GYRO, ACCEL = 2.0 * np.pi / 4096, 0.004, 0.03
#: Part of a depth picture that is holes, from and to.
HOLES = (0.02, 0.12)


class Sensors:
    """Does to the messages of a simulation what real sensors and a real network do."""

    def __init__(self, rng: Generator) -> None:
        """Draw from `rng`."""
        self._rng = rng
        self._holes = float(rng.uniform(*HOLES))

    def __call__(self, topic: str, message: Any, now_ns: int) -> tuple[Any, int] | None:
        """Return the message and when it comes [ns]; None if it is lost."""
        rng = self._rng
        if topic not in LATENCIES_S and topic != COMMANDS:
            return message, now_ns
        if rng.random() < LOST:
            return None
        late_s = LATENCIES_S.get(topic, JITTER_S) + rng.uniform(-JITTER_S, JITTER_S)
        if topic == JOINTS:
            noisy = np.asarray(message.position) + rng.normal(0.0, 3e-4, len(message.position))
            message.position = array.array("d", ENCODER_RAD * np.round(noisy / ENCODER_RAD))
        elif topic == IMU:
            for vector, noise in (
                (message.angular_velocity, GYRO),
                (message.linear_acceleration, ACCEL),
            ):
                for axis in "xyz":
                    setattr(vector, axis, getattr(vector, axis) + float(rng.normal(0.0, noise)))
        elif topic in (FRONT_DEPTH, WRIST_DEPTH):
            punch_holes(message, self._holes, rng)
        return message, max(EPOCH_NS, now_ns + round(1e9 * late_s))


def punch_holes(message: Any, share: float, rng: Generator) -> None:
    """Make part of a depth picture (32FC1) holes."""
    depth = np.frombuffer(message.data, np.float32).copy()
    depth[rng.random(depth.size) < share] = np.nan
    message.data = array.array("B", depth.tobytes())


def rewrite(
    folder: Path, change: Callable[[list[RecordedMessage]], list[RecordedMessage]]
) -> None:
    """Write an episode's messages anew, changed."""
    (path,) = message_files(folder)
    messages = change(list(read_messages(path)))
    path.unlink()
    counts: dict[str, int] = {}
    with MessageFile(path) as file:
        for item in sorted(messages, key=lambda item: item.log_ns):
            if item.topic not in counts:
                definition = message_definition(item.type)
                file.add_topic(TopicSpec(name=item.topic, type=item.type, definition=definition))
            counts[item.topic] = counts.get(item.topic, 0) + 1
            file.add(item.topic, item.data, item.log_ns, item.log_ns)
    times = [item.log_ns for item in messages]
    episode = replace(read_episode(folder), topics=counts, start_ns=min(times), end_ns=max(times))
    write_episode(folder, episode)


def later(message: RecordedMessage, by_ns: int) -> RecordedMessage:
    """Return a message as if it had been stamped, and had come, later [ns]."""
    data = message.data
    if has_header(message.type):
        data = with_stamp(data, stamp_of(data) + by_ns)
    return replace(message, data=data, log_ns=message.log_ns + by_ns)
