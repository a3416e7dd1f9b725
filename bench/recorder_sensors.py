"""What bench/recorder.py records: drivers of cameras, IMU and joints, each stamp written down.

python bench/recorder_sensors.py camera CONTRACT LOG front
python bench/recorder_sensors.py robot CONTRACT LOG

Frames are pictures with a sensor's noise, serialized beforehand, so that the drivers cost little.
They go on until their input ends; then LOG gets the stamps of what was sent, by topic.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import serialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, Imu, JointState

from vla_ros.contract import IMU, STATE, ObservationSpec, RobotContract, load_contract
from vla_ros.data.recording.topic_watch import STAMP
from vla_ros.ros.images import write_image
from vla_ros.ros.imu import write_imu
from vla_ros.ros.joints import CommandCodec, write_joint_state
from vla_ros.ros.periodic import sleep_until
from vla_ros.ros.qos import command_qos, sensor_qos
from vla_ros.ros.transport import use_shipped_profile

#: Different frames that are shown in turn.
FRAMES = 8
#: Noise of a pixel [0..255], of a depth [mm], and share of depths that a camera does not see.
NOISE, NOISE_MM, UNSEEN = 2.0, 2.0, 0.03
#: How much of the way to its command a joint moves in a period.
FOLLOWED = 0.7

Sent = dict[str, list[int]]


def main() -> int:
    """Publish until the input ends."""
    kind, contract_path, log, *rest = sys.argv[1:]
    contract = load_contract(contract_path)
    use_shipped_profile()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("_".join([kind, *rest, "driver"]), enable_rosout=False)
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    sent = (
        run_camera(node, contract, rest[0], ended)
        if kind == "camera"
        else run_robot(node, contract, ended)
    )
    Path(log).write_text(json.dumps(sent), encoding="utf-8")
    rclpy.shutdown()
    return 0


def run_camera(node: Node, contract: RobotContract, camera: str, ended: threading.Event) -> Sent:
    """Publish the images and depths of a camera at its rate."""
    specs = [spec for spec in contract.observations if spec.camera == camera]
    streams = [
        (spec.topic, node.create_publisher(Image, spec.topic, sensor_qos()), frames(spec))
        for spec in specs
    ]
    sent: Sent = {spec.topic: [] for spec in specs}
    period_ns, deadline = round(1e9 / specs[0].rate_hz), time.monotonic_ns()
    number = 0
    while not ended.is_set():
        sleep_until(deadline)
        stamp_ns = time.time_ns()
        for topic, publisher, pictures in streams:
            picture = pictures[number % FRAMES]
            STAMP.pack_into(picture, 4, *divmod(stamp_ns, 10**9))
            publisher.publish(bytes(picture))
            sent[topic].append(stamp_ns)
        number, deadline = number + 1, deadline + period_ns
    return sent


def run_robot(node: Node, contract: RobotContract, ended: threading.Event) -> Sent:
    """Publish joints and IMU at their rates, and follow commands."""
    state, imu, action = contract.observation(STATE), contract.observation(IMU), contract.action
    joints = node.create_publisher(JointState, state.topic, sensor_qos())
    motion = node.create_publisher(Imu, imu.topic, sensor_qos(depth=20))
    codec = CommandCodec(action.command.type, action.joints, contract.control_period_s)
    positions = np.array(contract.home)
    sent: Sent = {state.topic: [], imu.topic: []}

    def follow(message: Any) -> None:
        positions[:] += FOLLOWED * (codec.read(message) - positions)

    def show_joints() -> None:
        stamp_ns = time.time_ns()
        still = np.zeros(len(positions))
        joints.publish(write_joint_state(stamp_ns, action.joints, positions, still))
        sent[state.topic].append(stamp_ns)

    def show_motion() -> None:
        stamp_ns = time.time_ns()
        reading = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 9.81])
        motion.publish(write_imu(reading, stamp_ns=stamp_ns, frame_id=imu.frame))
        sent[imu.topic].append(stamp_ns)

    node.create_subscription(codec.message_type, action.command.topic, follow, command_qos())
    node.create_timer(1.0 / state.rate_hz, show_joints)
    node.create_timer(1.0 / imu.rate_hz, show_motion)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not ended.is_set():
        executor.spin_once(timeout_sec=0.2)
    return sent


def frames(spec: ObservationSpec) -> list[bytearray]:
    """Return serialized pictures of a stream: smooth surfaces, edges, and noise."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0 : spec.height, 0 : spec.width]
    pictures = []
    for number in range(FRAMES):
        pixels: NDArray[Any]
        if spec.encoding == "rgb8":
            shades = [np.sin(columns / 90 + k) + 0.5 * np.cos(rows / 60 + k) for k in range(3)]
            base = 120 + 80 * np.stack(shades, axis=-1)
            base[100:200, 200 + 5 * number : 320 + 5 * number] = (200, 30, 40)
            noisy = base + rng.normal(0.0, NOISE, base.shape)
            pixels = np.clip(noisy, 0, 255).astype(np.uint8)
        else:
            base = 800 + 300 * np.sin(columns / 200) + 0.2 * rows
            base[100:200, 200 + 5 * number : 320 + 5 * number] -= 60
            pixels = (base + rng.normal(0.0, NOISE_MM, base.shape)).astype(np.uint16)
            pixels[rng.random(base.shape) < UNSEEN] = 0
        message = write_image(pixels, encoding=spec.encoding, stamp_ns=0, frame_id=spec.frame)
        pictures.append(bytearray(serialize_message(message)))
    return pictures


if __name__ == "__main__":
    sys.exit(main())
