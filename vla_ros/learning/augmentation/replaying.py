"""Simulated episodes again, seen by other cameras, in other light, on another table."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vla_ros.contract import FeatureKind, ObservationSpec
from vla_ros.core.errors import UserError
from vla_ros.data.episode import Episode, Outcome
from vla_ros.data.episode_index import decode, full_name, stamp_of
from vla_ros.data.frames import RecordedEpisode, open_episode
from vla_ros.data.message_definitions import typestore
from vla_ros.data.message_file import RecordedMessage
from vla_ros.data.tools.derivation import Derived
from vla_ros.data.tools.episode_copy import Change, copy_episode
from vla_ros.learning.augmentation.other_looks import Look, look_anew
from vla_ros.learning.augmentation.simulated_replay import SimulatedReplay, recorded_scene
from vla_ros.sim.scenes import Scene
from vla_ros.sim.tabletop import CAMERAS

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaying:
    """Copies an episode with its cameras' images rendered anew; call it with the episode.

    Commands, joint states and IMU stay as they were recorded: the arm does the same again.

    Attributes:
        looks: What is drawn anew.
        variants: How many copies per episode.
        seed: Of every random choice.
        camera_scale: Times the range that cameras are moved in.
    """

    looks: Collection[Look]
    variants: int = 1
    seed: int = 0
    camera_scale: float = 1.0

    def __call__(self, source: Path, recording: Path) -> Derived:
        """Write the copies.

        Raises:
            UserError: if the episode was not simulated, or does not come out as recorded.
        """
        episode = open_episode(source)
        scene = recorded_scene(episode)
        names = []
        for index in range(self.variants):
            number = episode.info.number * self.variants + index
            seed = self.seed + number
            other = look_anew(scene, self.looks, seed, self.camera_scale)
            names.append(self._replay(episode, other, recording, number, seed))
        return Derived(episodes=tuple(names))

    def _replay(
        self, episode: RecordedEpisode, scene: Scene, recording: Path, number: int, seed: int
    ) -> str:
        cameras = _cameras(episode)
        size = next(iter(cameras.values())).width
        with SimulatedReplay(episode, scene, size) as replay:
            images = _Images(replay, cameras)
            extra = {
                "replay_of": episode.info.name,
                "looks": {"anew": sorted(self.looks), "seed": seed, "scale": self.camera_scale},
            }
            change = Change(
                description=lambda info: replace(info, extra={**info.extra, **extra}),
                message=images.render,
            )
            folder = copy_episode(episode.folder, recording, number, change)
            replay.play()
            _require_same_outcome(episode.info, replay, scene)
        return folder.name


class _Images:
    """Puts rendered images in the place of recorded ones, in the order of the recording."""

    def __init__(self, replay: SimulatedReplay, cameras: dict[str, ObservationSpec]) -> None:
        self._replay, self._cameras = replay, cameras
        self._rendered: dict[str, tuple[int, tuple[Pixels, Pixels]]] = {}

    def render(self, message: RecordedMessage) -> RecordedMessage:
        spec = self._cameras.get(message.topic)
        if spec is None:
            return message
        stamp_ns = stamp_of(message.data)
        self._replay.play_to(stamp_ns)
        at, pictures = self._rendered.get(spec.camera, (-1, None))
        if pictures is None or at != stamp_ns:  # colour and depth come of one pass
            pictures = self._replay.table.render(spec.camera)
            self._rendered[spec.camera] = (stamp_ns, pictures)
        pixels = pictures[spec.kind is FeatureKind.DEPTH]
        value: Any = decode(message)
        if message.type == RAW:
            value.data = _raw(pixels, value.encoding, message.topic)
            value.height, value.width = pixels.shape[:2]
            value.step = value.data.size // value.height
        else:
            value.data = _compressed(pixels, value.format, message.topic)
        data = bytes(typestore().serialize_cdr(value, message.type))
        return replace(message, data=data)


def _cameras(episode: RecordedEpisode) -> dict[str, ObservationSpec]:
    """Return the contract's cameras by topic.

    Raises:
        UserError: if the simulator has no such camera, or not of that size.
    """
    specs = [item for item in episode.contract.observations if item.camera]
    sizes = {(item.width, item.height) for item in specs}
    strange = sorted({item.camera for item in specs} - set(CAMERAS))
    if strange or len(sizes) != 1 or len(set(sizes.pop())) != 1:
        raise UserError(
            f"{episode.folder}: the simulator has the cameras {', '.join(CAMERAS)}, square and "
            "of one size; the contract has "
            + ", ".join(f"{item.camera} {item.width}x{item.height}" for item in specs)
        )
    return {full_name(item.topic): item for item in specs}


def _raw(pixels: Pixels, encoding: str, topic: str) -> NDArray[np.uint8]:
    if encoding == "rgb8":
        converted = pixels
    elif encoding == "bgr8":
        converted = pixels[..., ::-1]
    elif encoding == "32FC1":
        converted = pixels.astype("<f4")
    elif encoding == "16UC1":  # in millimetres
        converted = np.round(1000.0 * pixels).astype("<u2")
    else:
        raise UserError(f"{topic}: encoding {encoding!r} is not rendered")
    return np.frombuffer(converted.tobytes(), np.uint8)


def _compressed(pixels: Pixels, kind: str, topic: str) -> NDArray[np.uint8]:
    ending = next((name for name in ("jpeg", "png") if name in kind), None)
    if ending is None or pixels.ndim != 3:
        raise UserError(f"{topic}: format {kind!r} is not rendered; only colour as jpeg or png")
    done, data = cv2.imencode(f".{ending}", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not done:
        raise UserError(f"{topic}: an image could not be encoded as {ending}")
    return np.asarray(data, np.uint8).reshape(-1)


def _require_same_outcome(info: Episode, replay: SimulatedReplay, scene: Scene) -> None:
    """Refuse a replay that does not end as the recording did.

    Raises:
        UserError: if it failed where the recording succeeded.
    """
    score = replay.table.score()
    told_so = info.instruction == scene.text or "told_originally" in info.extra
    if info.outcome is Outcome.SUCCESS and told_so and not score.success:
        raise UserError(f"{info.name}: succeeded when recorded, not when replayed: {score.reason}")
