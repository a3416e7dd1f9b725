"""Two 640x480 RGB-D cameras at 30 Hz between processes, with and without the Fast DDS profile.

python bench/transport.py [--seconds 20] [--json PATH] [--check]

Each camera is a process of its own, publishing best effort. The receiver subscribes as the policy
node does, converts every message, and takes the time from stamp to converted array. Without the
profile means: in the cameras, since ours set it for themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image

from vla_ros.cli.measurement import conclude
from vla_ros.contract import ObservationSpec, load_contract
from vla_ros.ros.images import FORMATS, write_image
from vla_ros.ros.periodic import wait_until
from vla_ros.ros.qos import sensor_qos
from vla_ros.ros.sensor_streams import SensorStreams
from vla_ros.ros.transport import PROFILE_VARIABLES, profile_path

CONTRACT = "so101"
#: A stream that loses less than this is not said to be short.
NOTICED = 0.75
#: The second camera may start this much later than the first [s].
SETTLED_S = 3.0
#: What of the diagnostics counts as naming the loss, and its cure.
LOSS, CURE = "messages of", "start the camera driver with FASTRTPS_DEFAULT_PROFILES_FILE="


def main() -> int:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of frames per run")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must falls short")
    parser.add_argument("--camera", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.camera:
        return run_camera(arguments.camera, arguments.seconds)
    results = {
        "seconds": arguments.seconds,
        "with_profile": run_receiver(arguments.seconds, profile=True),
        "without_profile": run_receiver(arguments.seconds, profile=False),
    }
    return conclude("bench/transport.py", results, json_path=arguments.json, check=arguments.check)


def camera_specs(camera: str) -> list[ObservationSpec]:
    """Return the image and the depth stream of a camera."""
    return [spec for spec in load_contract(CONTRACT).observations if spec.camera == camera]


def run_camera(camera: str, seconds: float) -> int:
    """Publish frames as a driver would; print how many of each topic."""
    rclpy.init(args=[])
    node = rclpy.create_node(f"{camera}_driver", enable_rosout=False)
    specs = camera_specs(camera)
    rng = np.random.default_rng(0)
    publishers = []
    for spec in specs:
        publisher = node.create_publisher(Image, spec.topic, sensor_qos())
        publishers.append((publisher, spec, noise(rng, spec)))
    while any(publisher.get_subscription_count() == 0 for publisher, *_ in publishers):
        time.sleep(0.05)
    period_ns, count = round(1e9 / specs[0].rate_hz), round(seconds * specs[0].rate_hz)
    began = time.monotonic_ns()
    for frame in range(count):
        wait_until(began + frame * period_ns)
        stamp_ns = node.get_clock().now().nanoseconds
        for publisher, spec, pixels in publishers:
            message = write_image(
                pixels, encoding=spec.encoding, stamp_ns=stamp_ns, frame_id=spec.frame
            )
            publisher.publish(message)
    print(json.dumps({spec.topic: count for _, spec, _ in publishers}), flush=True)
    time.sleep(1.0)  # what was sent last is still on its way
    rclpy.shutdown()
    return 0


def noise(rng: np.random.Generator, spec: ObservationSpec) -> NDArray[Any]:
    """Return an image of noise in the stream's encoding."""
    pixel = FORMATS[spec.encoding]
    shape = (spec.height, spec.width, pixel.channels)
    pixels = rng.integers(1, 250, shape, dtype=np.uint8).astype(pixel.dtype)
    return pixels[..., 0] if pixel.channels == 1 else pixels


def run_receiver(seconds: float, *, profile: bool) -> dict[str, Any]:
    """Start the cameras, receive, and return what arrived and what the diagnostics say."""
    os.environ[PROFILE_VARIABLES[0]] = str(profile_path())
    rclpy.init(args=[])
    node = rclpy.create_node("receiver", enable_rosout=False)
    contract = load_contract(CONTRACT)
    cameras = tuple(spec for spec in contract.observations if spec.camera)
    state = contract.observation("observation.state")
    streams = SensorStreams(node, replace(contract, observations=(*cameras, state)), "best_effort")
    first_ns: list[int] = []
    delays = record_delays(streams, first_ns)
    streams.start()
    drivers = [start_camera(name, seconds, profile) for name in ("front", "wrist")]
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    said: dict[str, str] = {}
    node.create_timer(1.0, lambda: listen(streams, said, first_ns, seconds))
    while any(driver.poll() is None for driver in drivers):
        executor.spin_once(timeout_sec=0.2)
    sent: dict[str, int] = {}
    for driver in drivers:
        output, _ = driver.communicate()
        sent |= json.loads(output.splitlines()[-1])
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown()
    topics = {spec.feature: spec.topic for spec in cameras}
    return summarize({topics[key]: value for key, value in delays.items()}, sent, said)


def record_delays(streams: SensorStreams, first_ns: list[int]) -> dict[str, list[float]]:
    """Return a list per feature that fills with the time from stamp to converted array [ms].

    The time of the first message [ns] goes to `first_ns`.
    """
    delays: dict[str, list[float]] = defaultdict(list)
    add = streams.aligner.add

    def record(feature: str, stamp_ns: int, value: NDArray[np.generic]) -> None:
        add(feature, stamp_ns, value)
        if not first_ns:
            first_ns.append(streams.now_ns())
        delays[feature].append((streams.now_ns() - stamp_ns) * 1e-6)

    streams.aligner.add = record  # type: ignore[method-assign]
    return delays


def listen(
    streams: SensorStreams, said: dict[str, str], first_ns: list[int], seconds: float
) -> None:
    """Keep the first thing that the diagnostics say about each camera that loses frames."""
    elapsed_s = (streams.now_ns() - first_ns[0]) * 1e-9 if first_ns else 0.0
    if not SETTLED_S < elapsed_s < seconds:
        return  # the cameras have not both begun, or they have stopped
    for finding in streams.findings():
        if LOSS in finding.message and "camera" in finding.name:
            said.setdefault(finding.name, finding.message)


def start_camera(name: str, seconds: float, profile: bool) -> subprocess.Popen[str]:
    """Start a camera driver, with or without the profile."""
    environment = {k: v for k, v in os.environ.items() if k not in PROFILE_VARIABLES}
    if profile:
        environment[PROFILE_VARIABLES[0]] = str(profile_path())
    command = [sys.executable, __file__, "--camera", name, "--seconds", str(seconds)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE)


def summarize(
    delays: Mapping[str, list[float]], sent: Mapping[str, int], said: Mapping[str, str]
) -> dict[str, Any]:
    """Return the share of frames delivered, their delays, and whether the loss was explained."""
    everything = np.concatenate([np.array(d) for d in delays.values()] or [np.zeros(0)])
    delivered = {topic: len(delays.get(topic, ())) / count for topic, count in sent.items()}
    p50, p99 = np.percentile(everything, (50, 99)) if len(everything) else (np.nan, np.nan)
    lossy = [topic for topic, share in delivered.items() if share < NOTICED]
    return {
        "sent": sum(sent.values()),
        "delivered": float(len(everything) / sum(sent.values())),
        "delivered_per_topic": delivered,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "loss_named": bool(lossy) and all(LOSS in said.get(topic, "") for topic in lossy),
        "cure_named": bool(lossy) and all(CURE in said.get(topic, "") for topic in lossy),
        "diagnostics": dict(said),
    }


if __name__ == "__main__":
    sys.exit(main())
