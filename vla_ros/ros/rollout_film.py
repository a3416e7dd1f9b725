"""Films a running graph from its camera topics: a video, and a picture strip of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from rclpy.node import Node
from sensor_msgs.msg import Image

from vla_ros.ros.qos import sensor_qos
from vla_ros.ros.simulated_sensors import OVERVIEW_PERIOD_NS, OVERVIEW_TOPIC
from vla_ros.ros.stamps import to_ns

UInt8Array = NDArray[np.uint8]

#: Sizes [px]: the overview, the square robot cameras stacked beside it, the caption below.
OVERVIEW, ROBOT_VIEW, CAPTION = (480, 360), 180, 40
STRIP_COLUMNS, STRIP_ROWS = 3, 2
INK, PAPER, GREEN = (235, 235, 235), (24, 26, 30), (60, 190, 90)
#: Dropped frames are filled with the one before, up to this many at a time.
LONGEST_GAP = 20


class RolloutFilm:
    """Takes a frame for every overview picture, with what the robot's own cameras saw last.

    The film begins when every camera has been heard.
    """

    def __init__(
        self,
        node: Node,
        cameras: dict[str, str],
        instruction: str,
        progress: Callable[[], float],
    ) -> None:
        """Begin to film.

        Args:
            node: Subscribes; the caller spins it.
            cameras: Label -> topic of the robot's cameras, rgb8.
            instruction: For the caption.
            progress: Returns what the policy takes to be done, 0 to 1.
        """
        self.frames: list[UInt8Array] = []
        self._instruction, self._progress = instruction, progress
        self._views: dict[str, UInt8Array] = {}
        self._first_ns = self._last_ns = 0
        for label, topic in cameras.items():
            node.create_subscription(Image, topic, self._keep(label), sensor_qos())
        self._labels = tuple(cameras)
        node.create_subscription(Image, OVERVIEW_TOPIC, self._on_overview, sensor_qos())

    @property
    def rate_hz(self) -> float:
        """Frames per second of the world that is filmed."""
        return 1e9 / OVERVIEW_PERIOD_NS

    def write(self, video: Path, picture: Path) -> None:
        """Write the video (H.264) and the picture strip.

        Raises:
            RuntimeError: if no frame came.
        """
        if not self.frames:
            raise RuntimeError(f"no picture came on {OVERVIEW_TOPIC}: there is nothing to film")
        video.parent.mkdir(parents=True, exist_ok=True)
        imageio.imwrite(
            video, np.stack(self.frames), fps=round(self.rate_hz), macro_block_size=2, quality=7
        )
        Picture.fromarray(self._strip()).save(picture, optimize=True)

    def _strip(self) -> UInt8Array:
        """Return equally spaced frames in rows, at three quarters of their size."""
        count = STRIP_COLUMNS * STRIP_ROWS
        chosen = np.linspace(0, len(self.frames) - 1, count).round().astype(int)
        small = [Picture.fromarray(self.frames[i]) for i in chosen]
        size = (small[0].width * 3 // 4, small[0].height * 3 // 4)
        cells = [np.asarray(f.resize(size, Picture.Resampling.LANCZOS)) for f in small]
        rows = [
            np.concatenate(cells[i : i + STRIP_COLUMNS], 1) for i in range(0, count, STRIP_COLUMNS)
        ]
        return np.concatenate(rows, 0)

    def _keep(self, label: str) -> Callable[[Any], None]:
        def keep(message: Any) -> None:
            self._views[label] = _pixels(message)

        return keep

    def _on_overview(self, message: Any) -> None:
        if len(self._views) < len(self._labels):
            return
        stamp_ns = to_ns(message.header.stamp)
        if not self.frames:
            self._first_ns = stamp_ns
        else:
            missing = round((stamp_ns - self._last_ns) / OVERVIEW_PERIOD_NS) - 1
            self.frames += [self.frames[-1]] * max(0, min(missing, LONGEST_GAP))
        self._last_ns = stamp_ns
        self.frames.append(self._frame(_pixels(message), (stamp_ns - self._first_ns) * 1e-9))

    def _frame(self, overview: UInt8Array, elapsed_s: float) -> UInt8Array:
        width, height = OVERVIEW[0] + ROBOT_VIEW, OVERVIEW[1] + CAPTION
        frame = Picture.new("RGB", (width, height), PAPER)
        frame.paste(Picture.fromarray(overview), (0, 0))
        draw = ImageDraw.Draw(frame)
        for row, label in enumerate(self._labels):
            at = (OVERVIEW[0], row * ROBOT_VIEW)
            if label in self._views:
                view = Picture.fromarray(self._views[label]).resize((ROBOT_VIEW, ROBOT_VIEW))
                frame.paste(view, at)
            draw.text((at[0] + 6, at[1] + 4), label, INK, _font(13), **_OUTLINE)
        draw.text((10, OVERVIEW[1] + 8), self._instruction, INK, _font(17))
        clock = f"{elapsed_s:.1f} s"
        draw.text((width - 10, OVERVIEW[1] + 8), clock, INK, _font(17), anchor="ra")
        done = round(width * min(max(self._progress(), 0.0), 1.0))
        draw.rectangle((0, height - 5, done, height), GREEN)
        return np.asarray(frame)


_OUTLINE: dict[str, Any] = {"stroke_width": 2, "stroke_fill": PAPER}


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _pixels(message: Any) -> UInt8Array:
    flat = np.frombuffer(message.data, np.uint8)
    return flat.reshape(message.height, message.width, 3)
