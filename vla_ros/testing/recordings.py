"""Recordings of simulated episodes, without a graph of nodes: what tests and benches read.

The messages are those that the simulator, the policy and the gate publish, at their rates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message
from std_msgs.msg import String
from vla_ros_interfaces.msg import Acting

from vla_ros import __version__
from vla_ros.contract import STATE, FeatureKind, RobotContract, find_contract, load_contract
from vla_ros.core.types import ActionChunk
from vla_ros.data.bag_metadata import write_bag_metadata
from vla_ros.data.episode import CONTRACT, Episode, Outcome, State, write_episode
from vla_ros.data.message_definitions import make_topic_spec
from vla_ros.data.message_file import MessageFile
from vla_ros.learning.experts import Expert
from vla_ros.ros.chunks import write_chunk
from vla_ros.ros.images import write_image
from vla_ros.ros.imu import write_imu
from vla_ros.ros.joints import CommandCodec, write_joint_state
from vla_ros.ros.simulated_sensors import write_camera_info
from vla_ros.ros.stamps import to_time
from vla_ros.safety import make_gate
from vla_ros.sim.scene_record import SCENE_KEY, scene_values
from vla_ros.sim.scenes import Scene, sample_scene
from vla_ros.sim.tabletop import CONTROL_STEP_S, Tabletop

#: Simulated time begins here [ns]: some day, so that stamps look like stamps.
EPOCH_NS = 1_700_000_000_000_000_000
#: Between two chunks of the expert [s], and how long episodes last at most, and after success.
CHUNK_S, LONGEST_S, LINGER_S = 0.05, 9.0, 0.4

#: Is given a topic, its message and when it comes [ns]; returns what is recorded, or None.
Spoil = Callable[[str, Any, int], tuple[Any, int] | None]


def record_simulated(
    recording: Path,
    seeds: Sequence[int],
    *,
    contract: str = "tabletop_sim",
    skill: str | None = None,
    spoil: Spoil | None = None,
    image_size: int = 128,
    camera_info: bool = False,
) -> list[Path]:
    """Record what scripted experts do in scenes; return the folders of the episodes.

    Args:
        recording: Folder of the recording; made, or added to.
        seeds: Of the scenes, one per episode.
        contract: Name or path of the robot contract.
        skill: That is shown; any if None.
        spoil: Changes messages, or drops them: plants faults.
        image_size: Of the rendered images [px]; the contract has to say the same.
        camera_info: Whether the cameras' intrinsics are recorded too.
    """
    recording.mkdir(parents=True, exist_ok=True)
    first = len(list(recording.glob("episode_*")))
    table, expert = Tabletop(image_size=image_size), Expert()
    folders = []
    for number, seed in enumerate(seeds, first):
        scene = sample_scene(seed=seed, skill=skill) if skill else sample_scene(seed=seed)
        actors = (table, expert)
        folders.append(_record(recording, number, scene, contract, actors, spoil, camera_info))
    table.close()
    return folders


def _record(
    recording: Path,
    number: int,
    scene: Scene,
    contract_name: str,
    actors: tuple[Tabletop, Expert],
    spoil: Spoil | None,
    camera_info: bool,
) -> Path:
    contract, source = load_contract(contract_name), find_contract(contract_name)
    text = source.read_bytes()
    start_ns = EPOCH_NS + number * 60_000_000_000
    episode = Episode(
        number=number,
        instruction=scene.text,
        contract=contract.name,
        contract_sha256=hashlib.sha256(text).hexdigest(),
        operator="scripted expert",
        software=__version__,
        start_ns=start_ns,
        extra={SCENE_KEY: scene_values(scene)},
    )
    folder = recording / episode.name
    folder.mkdir()
    (folder / CONTRACT).write_bytes(text)
    sink = _Sink(folder / f"{episode.name}_0.mcap", spoil)
    play = _Play(contract, scene, *actors, sink, start_ns)
    if camera_info:
        play.send_camera_info()
    success = play.run(episode.instruction)
    sink.close()
    write_bag_metadata(folder)
    write_episode(
        folder,
        replace(
            episode,
            state=State.COMPLETE,
            outcome=Outcome.SUCCESS if success else Outcome.FAILURE,
            end_ns=play.now_ns,
            topics=sink.counts,
        ),
    )
    return folder


class _Sink:
    """Writes messages, and counts them; a fault may be planted on the way."""

    def __init__(self, path: Path, spoil: Spoil | None) -> None:
        self._file, self._spoil = MessageFile(path), spoil
        self.counts: dict[str, int] = {}

    def add(self, topic: str, message: Any, now_ns: int) -> None:
        spoilt = self._spoil(topic, message, now_ns) if self._spoil else (message, now_ns)
        if spoilt is None:
            return
        message, now_ns = spoilt
        if topic not in self.counts:
            kind = type(message)
            name = f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"
            self._file.add_topic(make_topic_spec(topic, name))
            self.counts[topic] = 0
        self.counts[topic] += 1
        self._file.add(topic, serialize_message(message), now_ns, now_ns)

    def close(self) -> None:
        self._file.close()


class _Play:
    """One episode: the expert's chunks through the gate into the simulated arm."""

    def __init__(
        self,
        contract: RobotContract,
        scene: Scene,
        table: Tabletop,
        expert: Expert,
        sink: _Sink,
        start_ns: int,
    ) -> None:
        self._contract, self._table, self._expert, self._sink = contract, table, expert, sink
        self._start_ns = start_ns
        table.reset(scene)
        self._gate = make_gate(contract)
        self._gate.reset(table.joint_positions)
        action = contract.action
        self._codec = CommandCodec(action.command.type, action.joints, contract.control_period_s)
        self._due = {item.feature: 0.0 for item in contract.observations}

    @property
    def now_ns(self) -> int:
        return self._start_ns + round(1e9 * self._table.time_s)

    def run(self, instruction: str) -> bool:
        """Play to the end; return whether it succeeded."""
        table, send = self._table, self._sink.add
        send("/vla/instruction", String(data=instruction), self.now_ns)
        acting = Acting(actor="policy")
        acting.header.stamp = to_time(self.now_ns)
        send("/vla/gate/acting", acting, self.now_ns)
        done_at, tick = None, 0
        while table.time_s < LONGEST_S:
            self._sense()
            if tick % round(CHUNK_S / CONTROL_STEP_S) == 0:
                self._decide(instruction)
            command = self._gate.tick(self.now_ns, table.joint_positions).positions
            assert command is not None
            topic = self._contract.action.command.topic
            send(topic, self._codec.write(command, self.now_ns), self.now_ns)
            score = table.step(command)
            tick += 1
            if score.success and done_at is None:
                done_at = table.time_s
            if done_at is not None and table.time_s - done_at > LINGER_S:
                break
        return bool(table.score().success)

    def send_camera_info(self) -> None:
        """Send the intrinsics of the contract's cameras once."""
        for item in self._contract.observations:
            if item.camera and item.kind is not FeatureKind.DEPTH:
                info = write_camera_info(self._table.camera_info(item.camera), self.now_ns)
                self._sink.add(f"{item.topic.rpartition('/')[0]}/camera_info", info, self.now_ns)

    def _decide(self, instruction: str) -> None:
        rows, progress = self._expert.chunk(self._table)
        chunk = ActionChunk(
            stamp_ns=self.now_ns,
            step_s=CHUNK_S,
            joint_names=tuple(self._contract.action.joints),
            positions=rows,
            progress=progress,
            instruction=instruction,
        )
        self._gate.accept(chunk, self.now_ns)
        self._sink.add("/vla/policy/chunk", write_chunk(chunk), self.now_ns)

    def _sense(self) -> None:
        """Send what is due, each at its rate."""
        table, now_ns = self._table, self.now_ns
        frames: dict[str, Any] = {}
        for item in self._contract.observations:
            if table.time_s < self._due[item.feature] - 1e-6:
                continue
            self._due[item.feature] += 1.0 / item.rate_hz
            if item.feature == STATE:
                message: Any = write_joint_state(
                    now_ns, self._contract.action.joints, table.joint_positions,
                    table.joint_velocities,
                )  # fmt: skip
            elif item.kind is FeatureKind.IMU:
                reading = np.asarray(table.last_imu)
                message = write_imu(reading, stamp_ns=now_ns, frame_id=item.frame)
            else:
                if item.camera not in frames:
                    frames[item.camera] = table.render(item.camera)
                pixels = frames[item.camera][item.kind is FeatureKind.DEPTH]
                message = write_image(
                    pixels, encoding=item.encoding, stamp_ns=now_ns, frame_id=item.frame
                )
            self._sink.add(item.topic, message, now_ns)
