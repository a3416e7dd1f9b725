"""The recorder under load: two RGB-D cameras, IMU and joints beside the policy and the gate.

python bench/recorder.py [--seconds 60] [--folder DIR] [--compression zstd] [--level 1]
                         [--json PATH] [--check]

Cameras of 640x480 RGB and depth at 30 Hz, IMU at 200 Hz, joints at 100 Hz: 92 MB/s. The shipped
policy runs on them, and the gate. First without a recorder, then with one, then without again:
what the recorder does to the control loop is the difference. Drivers, policy, gate and recorder
share the cores of this machine; give the bench two (`taskset -c 0,1`) where there are more.

Lost is each message whose stamp a driver wrote down while the episode was recorded and that is not
in the file, and each gap in the numbers of what gate and policy published.

Then the same messages go to files as fast as they are taken, by our writer and by those of the
packages `mcap` and `rosbags`: what a second of this load costs each of processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table
from std_srvs.srv import Trigger
from vla_ros_interfaces.msg import GateStatus
from vla_ros_interfaces.srv import StartEpisode

from vla_ros.bringup.graph import NodeDescription
from vla_ros.cli.measurement import conclude
from vla_ros.contract import IMU, find_contract
from vla_ros.core.resources import resource_path
from vla_ros.data.episode import message_files, read_episode
from vla_ros.data.message_chunk import Compression
from vla_ros.data.message_definitions import make_topic_spec, message_definition, typestore
from vla_ros.data.message_file import MessageFile, RecordedMessage, read_messages
from vla_ros.data.recording.topic_watch import STAMP
from vla_ros.ros.graph_client import GraphClient
from vla_ros.ros.instruction_sender import InstructionSender
from vla_ros.ros.qos import latched_qos
from vla_ros.testing.node_process import NodeProcess

SENSORS = Path(__file__).with_name("recorder_sensors.py")
INSTRUCTION = "push the red cube"
#: A policy drops an instruction that nobody repeats [s].
REPEAT_S = 0.2
IMU_HZ = 200.0
#: The gate's statistics look back on 10 s: it is asked that often [s].
JITTER_S = 10.0
#: Messages stamped so shortly before the end may come after it [ns].
MARGIN_NS = 100_000_000
#: Seconds of the load that every writer writes.
WRITTEN_S = 4.0
TICKS_HZ = os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of recording")
    parser.add_argument("--folder", type=Path, help="where to record to; a temporary one if none")
    parser.add_argument("--compression", default="zstd", choices=("zstd", "lz4", "none"))
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must falls short")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        results = measure(arguments, Path(folder))
    Console(soft_wrap=True).print(_writers_table(results["writers"]))
    shown = {key: value for key, value in results.items() if key != "writers"}
    table = Table("what", "value", title="bench/recorder.py", title_justify="left")
    for key, value in shown.items():
        table.add_row(key, f"{value:.3g}" if isinstance(value, float) else str(value))
    return conclude(
        "bench/recorder.py", results, json_path=arguments.json, check=arguments.check, table=table
    )


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return all results; `folder` is for what is recorded."""
    contract = write_contract(folder)
    with (
        drivers(contract, folder) as stop_drivers,
        graph(contract),
        closing(Listening()) as listening,
    ):
        listening.settle()
        before = listening.jitter(arguments.seconds / 2)
        recorded = record(listening, contract, folder, arguments)
        after = listening.jitter(arguments.seconds / 2)
        stop_drivers()
    files = message_files(recorded.folder)
    lost = count_lost(recorded, files, folder)
    size = sum(path.stat().st_size for path in files)
    quiet, busy = float(np.median(before + after)), float(np.median(recorded.jitter_ms))
    episode = read_episode(recorded.folder)
    first = list(first_seconds(files[0], WRITTEN_S))
    results = {
        "compression": arguments.compression,
        "level": arguments.level,
        "seconds": recorded.seconds,
        "messages": sum(episode.topics.values()),
        "lost": sum(lost.values()),
        "lost_by_topic": {topic: count for topic, count in lost.items() if count},
        "cpu_percent": 100.0 * recorded.cpu_s / recorded.seconds,
        "memory_mb": recorded.rss_mb[-1],
        "memory_growth_mb": growth(recorded.rss_mb),
        "disk_mb_per_s": size / 1e6 / recorded.seconds,
        "jitter_p99_without_ms": quiet,
        "jitter_p99_with_ms": busy,
        "jitter_p99_added_ms": busy - quiet,
        "jitter_p99_without_each_ms": before + after,
        "jitter_p99_with_each_ms": recorded.jitter_ms,
        "chunks": episode.topics.get("/vla/policy/chunk", 0),
        "warnings": list(episode.warnings),
    }
    shutil.rmtree(recorded.folder)  # the writers need the room
    return results | {"writers": compare_writers(first, folder)}


def write_contract(folder: Path) -> Path:
    """Write the shipped robot's contract with an IMU of 200 Hz, and return its path."""
    values = yaml.safe_load(find_contract("so101").read_text("utf-8"))
    values["observations"][IMU]["rate_hz"] = IMU_HZ
    values["robot"]["urdf"] = str(resource_path(values["robot"]["urdf"]))
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


@contextmanager
def drivers(contract: Path, folder: Path) -> Iterator[Any]:
    """Start the drivers; gives a function that ends them, after which their logs are there."""
    started = []
    for name, words in (
        ("front", ("camera", str(contract), str(folder / "front.json"), "front")),
        ("wrist", ("camera", str(contract), str(folder / "wrist.json"), "wrist")),
        ("robot", ("robot", str(contract), str(folder / "robot.json"))),
    ):
        print(f"driver {name} …", file=sys.stderr)
        command = [sys.executable, str(SENSORS), *words]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE))

    def stop() -> None:
        for process in started:
            assert process.stdin is not None
            process.stdin.close()
        for process in started:
            if process.wait(30) != 0:
                raise RuntimeError("a driver failed; what it said is above")

    try:
        yield stop
    finally:
        for process in started:
            process.kill()  # it has ended, unless something went wrong
            process.wait()


@contextmanager
def graph(contract: Path) -> Iterator[None]:
    """Start gate and policy, and wait for them."""
    bundle = str(resource_path("models/tabletop-small"))
    nodes = [
        NodeDescription(name="gate", parameters={"contract": str(contract)}),
        NodeDescription(
            name="policy",
            parameters={"contract": str(contract), "bundle": bundle, "allow_differences": True},
        ),
    ]
    started = [NodeProcess(node) for node in nodes]
    try:
        for process in started:
            process.wait_active(60.0)
        yield
    finally:
        for process in started:
            process.end(30.0)


class Listening:
    """Tells the policy what to do, and hears the gate."""

    def __init__(self) -> None:
        """Listen, and begin to tell."""
        self.client = GraphClient("bench")
        self._gate: Any = None
        sender = InstructionSender(self.client.node, topic="/vla/instruction")
        self.client.node.create_timer(REPEAT_S, lambda: sender.send(INSTRUCTION))
        self.client.node.create_subscription(
            GateStatus, "/vla/gate/status", self._on_gate, latched_qos()
        )

    def close(self) -> None:
        """End."""
        self.client.close()

    def settle(self) -> None:
        """Wait until the gate executes what the policy sends, and its statistics are fresh."""
        self.client.wait_for(
            lambda: self._gate is not None and self._gate.state == GateStatus.EXECUTING,
            60.0,
            "the gate executes no chunk",
        )
        self.pass_time(JITTER_S)

    def call(self, service: type, name: str, request: Any) -> Any:
        """Have the recorder do something.

        Raises:
            RuntimeError: if it refuses.
        """
        answer = self.client.call(service, f"/vla/recorder/{name}", request, timeout_s=60.0)
        if not answer.success:
            raise RuntimeError(f"{name}: {answer.message}")
        return answer

    def pass_time(self, seconds: float) -> None:
        """Go on listening for a while [s]."""
        end = time.monotonic() + seconds
        self.client.wait_for(lambda: time.monotonic() > end, seconds + 60.0, "")

    def jitter(self, seconds: float) -> list[float]:
        """Return the 99th percentile of the control period's error in [ms], every 10 s."""
        found = []
        for _ in range(max(1, round(seconds / JITTER_S))):
            self.pass_time(JITTER_S)
            found.append(float(self._gate.jitter_p99_ms))
        print(f"p99 jitter {found} ms", file=sys.stderr)
        return found

    def _on_gate(self, message: Any) -> None:
        self._gate = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One episode, and what recording it took."""

    folder: Path
    begin_ns: int
    end_ns: int
    cpu_s: float
    rss_mb: list[float]
    jitter_ms: list[float]

    @property
    def seconds(self) -> float:
        """How long it was recorded [s]."""
        return 1e-9 * (self.end_ns - self.begin_ns)


def record(
    listening: Listening, contract: Path, folder: Path, arguments: argparse.Namespace
) -> Recorded:
    """Start a recorder, record an episode, and end it."""
    parameters = {
        "contract": str(contract),
        "folder": str(folder / "recording"),
        "compression": arguments.compression,
        "level": arguments.level,
    }
    node = NodeDescription(name="recorder", parameters=parameters)
    process = NodeProcess(node).wait_active(60.0)
    try:
        listening.pass_time(JITTER_S)  # everything is subscribed, and jitter is of this time
        path = listening.call(StartEpisode, "start", StartEpisode.Request()).path
        begin_ns, cpu_s = time.time_ns(), processor_s(process.pid)
        with sampling(process.pid) as rss_mb:
            jitter_ms = listening.jitter(arguments.seconds)
        end_ns, cpu_s = time.time_ns(), processor_s(process.pid) - cpu_s
        print(listening.call(Trigger, "stop", Trigger.Request()).message, file=sys.stderr)
    finally:
        process.end(60.0)
    return Recorded(
        folder=Path(path),
        begin_ns=begin_ns,
        end_ns=end_ns,
        cpu_s=cpu_s,
        rss_mb=rss_mb,
        jitter_ms=jitter_ms,
    )


def processor_s(pid: int) -> float:
    """Return the processor time that a process has taken, the system's part included [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_HZ


@contextmanager
def sampling(pid: int) -> Iterator[list[float]]:
    """Take down a process's resident memory every half a second [MB]."""
    samples: list[float] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.5):
            pages = int(Path(f"/proc/{pid}/statm").read_text("utf-8").split()[1])
            samples.append(pages * os.sysconf("SC_PAGESIZE") / 1e6)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def growth(samples: Sequence[float]) -> float:
    """Return by how much the last third of samples lies above the middle one, in the median."""
    third = max(1, len(samples) // 3)
    return float(np.median(samples[-third:]) - np.median(samples[-2 * third : -third]))


def count_lost(recorded: Recorded, files: Sequence[Path], folder: Path) -> dict[str, int]:
    """Return how many messages are missing, by topic."""
    sent: dict[str, Any] = {}
    for name in ("front", "wrist", "robot"):
        log = json.loads((folder / f"{name}.json").read_text("utf-8"))
        sent |= {topic: np.array(found, np.int64) for topic, found in log.items()}
    stamps: dict[str, set[int]] = {topic: set() for topic in sent}
    numbers: dict[str, list[int]] = {}
    for message in (message for path in files for message in read_messages(path)):
        if message.topic in stamps:
            seconds, nanoseconds = STAMP.unpack_from(message.data, 4)
            stamps[message.topic].add(seconds * 10**9 + nanoseconds)
        elif message.publish_ns > recorded.begin_ns:
            numbers.setdefault(message.topic, []).append(message.sequence)
    lost = {}
    for topic, log in sent.items():
        due = log[(log > recorded.begin_ns) & (log < recorded.end_ns - MARGIN_NS)]
        lost[topic] = sum(int(stamp) not in stamps[topic] for stamp in due)
    for topic, found in numbers.items():
        lost[topic] = max(found) - min(found) + 1 - len(set(found))
    return lost


def first_seconds(path: Path, seconds: float) -> Iterator[RecordedMessage]:
    """Yield the messages of the first so many seconds of a file."""
    begin_ns = None
    for message in read_messages(path):
        begin_ns = begin_ns or message.log_ns
        if message.log_ns - begin_ns > 1e9 * seconds:
            return
        yield message


def compare_writers(messages: Sequence[RecordedMessage], folder: Path) -> dict[str, Any]:
    """Return what writing a second of the load costs each writer, and what it takes on disk."""
    writers: dict[str, Callable[[Path], None]] = {
        "ours, none": lambda path: write_ours(messages, path, Compression.NONE, 0),
        "ours, lz4 0": lambda path: write_ours(messages, path, Compression.LZ4, 0),
        "ours, zstd -3": lambda path: write_ours(messages, path, Compression.ZSTD, -3),
        "ours, zstd 1": lambda path: write_ours(messages, path, Compression.ZSTD, 1),
        "ours, zstd 3": lambda path: write_ours(messages, path, Compression.ZSTD, 3),
        "mcap.Writer, none": lambda path: write_mcap(messages, path, "NONE"),
        "mcap.Writer, lz4": lambda path: write_mcap(messages, path, "LZ4"),
        "mcap.Writer, zstd 3": lambda path: write_mcap(messages, path, "ZSTD"),
        "rosbags.Writer, none": lambda path: write_rosbags(messages, path, "NONE"),
        "rosbags.Writer, zstd 3": lambda path: write_rosbags(messages, path, "STORAGE"),
    }
    raw = sum(len(message.data) for message in messages)
    found = {}
    for name, write in writers.items():
        path = folder / "written"
        began_s = time.process_time()
        write(path)
        taken_s = time.process_time() - began_s
        size = sum(item.stat().st_size for item in [path, *path.rglob("*")] if item.is_file())
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        found[name] = {"cpu_percent": 100.0 * taken_s / WRITTEN_S, "size": size / raw}
        print(name, found[name], file=sys.stderr)
    return found


def write_ours(
    messages: Sequence[RecordedMessage], path: Path, compression: Compression, level: int
) -> None:
    with MessageFile(path, compression=compression, level=level) as file:
        for message in messages:
            if message.topic not in file:
                file.add_topic(make_topic_spec(message.topic, message.type))
            file.add(message.topic, message.data, message.log_ns, message.publish_ns)


def write_mcap(messages: Sequence[RecordedMessage], path: Path, compression: str) -> None:
    from mcap.writer import CompressionType, Writer

    with path.open("wb") as file:
        writer = Writer(file, compression=CompressionType[compression], chunk_size=4 * 2**20)
        writer.start(profile="ros2")
        channels: dict[str, int] = {}
        for message in messages:
            if message.topic not in channels:
                text = message_definition(message.type).encode()
                schema = writer.register_schema(message.type, "ros2msg", text)
                channels[message.topic] = writer.register_channel(message.topic, "cdr", schema)
            writer.add_message(
                channels[message.topic], message.log_ns, message.data, message.publish_ns
            )
        writer.finish()  # type: ignore[no-untyped-call]
        file.flush()
        os.fsync(file.fileno())


def write_rosbags(messages: Sequence[RecordedMessage], path: Path, compression: str) -> None:
    from rosbags.rosbag2 import CompressionMode, StoragePlugin, Writer

    writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.compression_mode = CompressionMode[compression]
    with writer:
        connections: dict[str, Any] = {}
        for message in messages:
            if message.topic not in connections:
                connections[message.topic] = writer.add_connection(
                    message.topic, message.type, typestore=typestore()
                )
            writer.write(connections[message.topic], message.log_ns, message.data)


def _writers_table(writers: dict[str, Any]) -> Table:
    table = Table("writer", "% of a core", "size on disk", title="what writing the load costs")
    for name, row in writers.items():
        table.add_row(name, f"{row['cpu_percent']:.1f}", f"{100 * row['size']:.0f} %")
    return table


if __name__ == "__main__":
    sys.exit(main())
