"""A video of an episode: its cameras, what the next actions will do, and its joints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vla_ros.contract import RobotContract
from vla_ros.core.errors import UserError
from vla_ros.core.types import FloatArray
from vla_ros.data.frames import Frame, RecordedEpisode
from vla_ros.data.lerobot.video import VideoEncoder
from vla_ros.data.showing.projection import CameraModel, Hand, find_camera, find_hand
from vla_ros.data.showing.timeline import Timeline, in_force
from vla_ros.data.tools.subtasks import subtask_at

UInt8Array = NDArray[np.uint8]
#: Height that images are shown at [px], of the text above, and of one joint's bar.
HEIGHT, HEAD, BAR = 384, 56, 22
#: Colours, in RGB: by who has the arm; of what is measured and commanded; of paper and ink.
ACTORS = {"policy": (70, 160, 255), "operator": (255, 140, 40)}
NOBODY, MEASURED, COMMANDED = (200, 200, 200), (70, 160, 255), (255, 140, 40)
PAPER, INK, FAINT = (24, 26, 30), (235, 235, 235), (90, 94, 102)
#: What comes is drawn this far ahead where there are no chunks, from the commands [s].
AHEAD_S, AHEAD_STEP_S = 0.8, 0.05
FONT = cv2.FONT_HERSHEY_SIMPLEX
#: Sub-pixel coordinates of OpenCV: 2**4 to the pixel.
SHIFT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Filmed:
    """What a video shows.

    Attributes:
        frames: How many.
        drawn: Cameras that the path of the hand is drawn into.
        undrawn: Cameras whose pose or intrinsics are not known.
    """

    frames: int
    drawn: tuple[str, ...]
    undrawn: tuple[str, ...]


def film_episode(episode: RecordedEpisode, timeline: Timeline, video: Path) -> Filmed:
    """Write a video (MP4, H.264) of an episode, with the actions that are to come drawn in.

    Into each camera whose pose and intrinsics are known goes the path that the next actions take
    the hand along: of the newest chunk, or of the commands that follow where there are no chunks.
    Below are the joints within their limits, measured, commanded, and where they are to go.

    Raises:
        UserError: if PyAV is not installed, or no frame can be read.
    """
    contract = episode.contract
    cameras = [item.camera for item in contract.observations if item.camera]
    models = {name: find_camera(episode, name) for name in dict.fromkeys(cameras)}
    painter = _Painter(contract, timeline, find_hand(contract), models)
    fps = round(contract.observation(episode.reference).rate_hz)
    encoder = VideoEncoder(video, fps, "h264")
    count, shown = 0, set[str]()
    try:
        for frame in episode.frames():
            encoder.add(painter.paint(episode, frame))
            count, shown = count + 1, shown | set(frame.observation.images)
    finally:
        encoder.close()
    if not count:
        video.unlink(missing_ok=True)
        raise UserError(
            f"{episode.folder}: holds no frame that a policy could have seen; `vla_ros data "
            "check` tells why"
        )
    drawn = {name for name in shown if models[name] is not None and painter.hand is not None}
    return Filmed(frames=count, drawn=tuple(sorted(drawn)), undrawn=tuple(sorted(shown - drawn)))


class _Painter:
    """Paints the pictures of a video."""

    def __init__(
        self,
        contract: RobotContract,
        timeline: Timeline,
        hand: Hand | None,
        models: dict[str, CameraModel | None],
    ) -> None:
        self._contract, self._timeline = contract, timeline
        self.hand, self._models = hand, models

    def paint(self, episode: RecordedEpisode, frame: Frame) -> UInt8Array:
        """Return one picture (H, W, 3), of even height and width."""
        now_ns = frame.stamp_ns
        actor = in_force(self._timeline.actors, now_ns)
        coming = np.array(list(self._coming(now_ns)))
        images = [
            self._camera(name, image, coming, now_ns, ACTORS.get(actor, NOBODY))
            for name, image in frame.observation.images.items()
        ]
        middle = np.hstack(images)
        joints = self._joints(middle.shape[1], now_ns, coming)
        head = self._head(middle.shape[1], episode, frame, actor)
        picture = np.vstack([head, middle, joints])
        height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
        return np.ascontiguousarray(picture[:height, :width], np.uint8)

    def _coming(self, now_ns: int) -> Iterator[FloatArray]:
        """Yield the joint targets that are to come [rad], (n_joints,)."""
        chunk = self._timeline.chunk_at(now_ns)
        if chunk is not None:
            yield from chunk.positions[chunk.stamps_ns > now_ns]
            return
        for after_s in np.arange(0.0, AHEAD_S, AHEAD_STEP_S):
            target = self._timeline.command_at(now_ns + round(1e9 * after_s))
            if np.isfinite(target).all():
                yield target

    def _camera(
        self,
        name: str,
        image: UInt8Array,
        coming: FloatArray,
        now_ns: int,
        colour: tuple[int, int, int],
    ) -> UInt8Array:
        scale = HEIGHT / image.shape[0]
        width = round(image.shape[1] * scale)
        resized = cv2.resize(image, (width, HEIGHT), interpolation=cv2.INTER_CUBIC)
        canvas = np.asarray(resized, np.uint8)
        model, state = self._models.get(name), self._timeline.state_at(now_ns)
        if (
            model is not None
            and self.hand is not None
            and len(coming)
            and np.isfinite(state).all()
        ):
            path = self.hand.path(np.vstack([state, coming]))
            pixels = (model.project(path, state) + 0.5) * scale - 0.5
            _draw_path(canvas, pixels, colour)
        _write(canvas, name, (8, HEIGHT - 10), INK, 0.45)
        return canvas

    def _head(self, width: int, episode: RecordedEpisode, frame: Frame, actor: str) -> UInt8Array:
        head = np.full((HEAD, width, 3), PAPER, np.uint8)
        timeline = self._timeline
        said = frame.instruction or "no instruction"
        if subtask := subtask_at(episode.info, frame.stamp_ns):
            said += f"  [{subtask}]"
        _write(head, said, (8, 22), INK, 0.5)
        seconds = float(timeline.seconds(frame.stamp_ns))
        gate = in_force(timeline.gate, frame.stamp_ns)
        words = f"{seconds:6.2f} s   {actor or 'nobody'} acts" + (
            f"   gate: {gate}" if gate else ""
        )
        _write(head, words, (8, 44), ACTORS.get(actor, NOBODY), 0.45)
        return head

    def _joints(self, width: int, now_ns: int, coming: FloatArray) -> UInt8Array:
        limits, names = self._contract.limits, self._timeline.joints
        panel = np.full((BAR * len(names) + 8, width, 3), PAPER, np.uint8)
        state, command = self._timeline.state_at(now_ns), self._timeline.command_at(now_ns)
        left, right = min(130, width // 3), width - 12
        for index, name in enumerate(names):
            low, high = float(limits.lower[index]), float(limits.upper[index])
            y = BAR * index + BAR // 2 + 4

            def place(value: float, low: float = low, high: float = high) -> int:
                share = (min(max(value, low), high) - low) / (high - low)
                return round(left + share * (right - left))

            _write(panel, name, (8, y + 4), INK, 0.4)
            cv2.line(panel, (left, y), (right, y), FAINT, 2)
            if len(coming):
                ends = place(float(coming[:, index].min())), place(float(coming[:, index].max()))
                cv2.line(panel, (ends[0], y), (ends[1], y), COMMANDED, 4)
            if np.isfinite(command[index]):
                x = place(float(command[index]))
                cv2.line(panel, (x, y - 7), (x, y + 7), COMMANDED, 2)
            if np.isfinite(state[index]):
                cv2.circle(panel, (place(float(state[index])), y), 5, MEASURED, -1, cv2.LINE_AA)
        return panel


def _draw_path(canvas: UInt8Array, pixels: FloatArray, colour: tuple[int, int, int]) -> None:
    """Draw a path, thinner and darker the later it comes, and a ring where it ends."""
    edge = 20.0 * max(canvas.shape)
    good = np.isfinite(pixels).all(axis=1) & (np.abs(np.nan_to_num(pixels)) < edge).all(axis=1)
    points = np.round(np.nan_to_num(pixels) * 2**SHIFT).astype(int)
    steps = max(1, len(points) - 1)
    drawn = [index for index in range(len(points) - 1) if good[index] and good[index + 1]]
    for width, lit in ((5, 0.0), (3, 1.0)):  # a dark rim, to be seen on any ground
        for index in drawn:
            tone = tuple(int(lit * (1.0 - 0.5 * index / steps) * part) for part in colour)
            ends = (tuple(points[index].tolist()), tuple(points[index + 1].tolist()))
            cv2.line(canvas, *ends, tone, width, cv2.LINE_AA, SHIFT)
    if good[0]:
        cv2.circle(canvas, tuple(points[0].tolist()), 4 << SHIFT, INK, -1, cv2.LINE_AA, SHIFT)
    if good[-1]:
        cv2.circle(canvas, tuple(points[-1].tolist()), 7 << SHIFT, colour, 2, cv2.LINE_AA, SHIFT)


def _write(canvas: Any, text: str, at: tuple[int, int], colour: Any, size: float) -> None:
    """Write what OpenCV's font has; it knows ASCII alone."""
    plain = text.encode("ascii", "replace").decode()
    below = (at[0] + 1, at[1] + 1)  # a shadow, to be read on any ground
    cv2.putText(canvas, plain, below, FONT, size, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.putText(canvas, plain, at, FONT, size, colour, 1, cv2.LINE_AA)
