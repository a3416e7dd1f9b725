"""Small recordings without ROS 2 and without a simulator: noise on a contract's topics.

Where `recordings` needs what publishes, this writes messages made with `rosbags`. Episodes of a
second take a few milliseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from vla_ros.contract import (
    FeatureKind,
    ObservationSpec,
    RobotContract,
    find_contract,
    load_contract,
)
from vla_ros.core.stamps import NANOSECONDS
from vla_ros.data.episode import CONTRACT, Episode, Outcome, State, write_episode
from vla_ros.data.episode_index import ACTING, INSTRUCTION
from vla_ros.data.message_definitions import message_definition, typestore
from vla_ros.data.message_file import MessageFile, TopicSpec

EPOCH_NS = 1_700_000_000_000_000_000
WIDTH, HEIGHT, TICK_NS = 32, 24, 10_000_000

#: Is given a topic, its message and when it comes [ns]; returns what is recorded, or None.
Spoil = Callable[[str, Any, int], tuple[Any, int] | None]


def write_small_contract(path: Path, changes: dict[str, Any] | None = None) -> RobotContract:
    """Write the tabletop's contract with images of 32x24 px; return it.

    Args:
        path: Of the file.
        changes: Feature to values that differ; to None where there is no such feature.
    """
    values = yaml.safe_load(find_contract("tabletop_sim").read_text("utf-8"))
    for name, item in values["observations"].items():
        if "width" in item:
            item |= {"width": WIDTH, "height": HEIGHT}
        item |= (changes or {}).get(name) or {}
    for name, change in (changes or {}).items():
        if change is None:
            del values["observations"][name]
    path.write_text(yaml.safe_dump(values, sort_keys=False), "utf-8")
    return load_contract(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallEpisode:
    """What is written of one episode.

    Attributes:
        length_s: How long it is [s].
        instruction: What the robot is told.
        outcome: What is said of it.
        actors: From which time on [s] who moves the robot.
        seed: Of the noise.
        state: How far it got.
        spoil: Changes messages, or drops them.
    """

    length_s: float = 1.0
    instruction: str = "lift the red cube"
    outcome: Outcome = Outcome.SUCCESS
    actors: tuple[tuple[float, str], ...] = ((0.0, "policy"),)
    seed: int = 0
    state: State = State.COMPLETE
    spoil: Spoil | None = None


def write_small_recording(
    recording: Path, episodes: Sequence[SmallEpisode], contract: Path | None = None
) -> list[Path]:
    """Write a recording; return the folders of its episodes.

    Args:
        recording: Its folder; made, or added to.
        episodes: What is in it.
        contract: File of the contract; None for one of small images.
    """
    recording.mkdir(parents=True, exist_ok=True)
    if contract is None:
        contract = recording / "small.yaml"
        write_small_contract(contract)
    first = len(list(recording.glob("episode_*")))
    return [
        _write(recording, number, episode, contract)
        for number, episode in enumerate(episodes, first)
    ]


def _write(recording: Path, number: int, wanted: SmallEpisode, contract_file: Path) -> Path:
    contract, text = load_contract(contract_file), contract_file.read_bytes()
    start_ns = EPOCH_NS + number * 60 * NANOSECONDS
    folder = recording / f"episode_{number:06d}"
    folder.mkdir()
    (folder / CONTRACT).write_bytes(text)
    counts: dict[str, int] = {}
    end_ns = start_ns
    with MessageFile(folder / f"{folder.name}_0.mcap") as file:
        for topic, name, message, now_ns in _messages(contract, wanted, start_ns):
            spoilt = wanted.spoil(topic, message, now_ns) if wanted.spoil else (message, now_ns)
            if spoilt is None:
                continue
            message, end_ns = spoilt
            name = getattr(message, "__msgtype__", name)
            if topic not in counts:
                definition = message_definition(name)
                file.add_topic(TopicSpec(name=topic, type=name, definition=definition))
            counts[topic] = counts.get(topic, 0) + 1
            data = bytes(typestore().serialize_cdr(message, name))
            file.add(topic, data, end_ns, end_ns)
    write_episode(
        folder,
        Episode(
            number=number,
            state=wanted.state,
            instruction=wanted.instruction,
            outcome=wanted.outcome,
            contract=contract.name,
            contract_sha256=hashlib.sha256(text).hexdigest(),
            start_ns=start_ns,
            end_ns=end_ns,
            topics=counts,
        ),
    )
    return folder


def _messages(
    contract: RobotContract, wanted: SmallEpisode, start_ns: int
) -> list[tuple[str, str, Any, int]]:
    rng, types = np.random.default_rng(wanted.seed), typestore().types
    found: list[tuple[str, str, Any, int]] = []

    def add(topic: str, kind: str, now_ns: int, /, **values: Any) -> None:
        found.append((topic, kind, types[kind](**values), now_ns))

    add(INSTRUCTION, "std_msgs/msg/String", start_ns, data=wanted.instruction)
    for since_s, actor in wanted.actors:
        since_ns = start_ns + round(since_s * NANOSECONDS)
        name = "vla_ros_interfaces/msg/Acting"
        add(ACTING, name, since_ns, header=_header(since_ns, ""), actor=actor)
    due = {item.feature: 0.0 for item in contract.observations}
    where = np.array(contract.home)
    command = contract.action.command
    for tick in range(round(wanted.length_s * NANOSECONDS / TICK_NS)):
        now_ns = start_ns + tick * TICK_NS
        where = where + rng.normal(0.0, 0.003, len(where))
        for item in contract.observations:
            if tick * TICK_NS * 1e-9 < due[item.feature] - 1e-6:
                continue
            due[item.feature] += 1.0 / item.rate_hz
            add(item.topic, item.type, now_ns, **_sense(item, contract, where, now_ns, rng))
        add(command.topic, command.type, now_ns, **_command(where + 0.01))
    return sorted(found, key=lambda each: each[3])


def _sense(
    item: ObservationSpec,
    contract: RobotContract,
    where: np.ndarray[Any, Any],
    now_ns: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    header, types = _header(now_ns, item.frame), typestore().types
    if item.kind is FeatureKind.STATE:
        n = len(where)
        return {
            "header": header,
            "name": list(contract.action.joints),
            "position": where.copy(),
            "velocity": np.zeros(n),
            "effort": np.zeros(n),
        }
    if item.kind is FeatureKind.IMU:
        quaternion = types["geometry_msgs/msg/Quaternion"]
        gyro, accel = rng.normal(0.0, 0.1, 3), rng.normal((0.0, 0.0, 9.81), 0.1)
        return {
            "header": header,
            "orientation": quaternion(x=0.0, y=0.0, z=0.0, w=1.0),
            "orientation_covariance": np.zeros(9),
            "angular_velocity": _vector(gyro),
            "angular_velocity_covariance": np.zeros(9),
            "linear_acceleration": _vector(accel),
            "linear_acceleration_covariance": np.zeros(9),
        }
    pixels = draw(item, rng)
    return {
        "header": header,
        "height": item.height,
        "width": item.width,
        "encoding": item.encoding,
        "is_bigendian": 0,
        "step": pixels.nbytes // item.height,
        "data": pixels.view(np.uint8).reshape(-1),
    }


def draw(item: ObservationSpec, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return the pixels of a smooth picture that is never twice the same."""
    size = (item.width, item.height)
    if item.kind is FeatureKind.DEPTH:
        coarse = rng.uniform(0.2, 1.5, (3, 4)).astype(np.float32)
        metres = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
        if item.encoding == "16UC1":
            return np.ascontiguousarray(np.rint(1000.0 * metres).astype(np.uint16))
        return np.ascontiguousarray(metres)
    colours = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return np.ascontiguousarray(cv2.resize(colours, size, interpolation=cv2.INTER_CUBIC))


def _command(targets: np.ndarray[Any, Any]) -> dict[str, Any]:
    layout = typestore().types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
    return {"layout": layout, "data": targets.copy()}


def _vector(xyz: np.ndarray[Any, Any]) -> Any:
    x, y, z = (float(value) for value in xyz)
    return typestore().types["geometry_msgs/msg/Vector3"](x=x, y=y, z=z)


def _header(stamp_ns: int, frame: str) -> Any:
    types = typestore().types
    sec, nanosec = divmod(stamp_ns, NANOSECONDS)
    stamp = types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame)
