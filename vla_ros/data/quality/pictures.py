"""Pictures as numbers: what the checks need of each, so that none has to be kept."""

from __future__ import annotations

import re
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vla_ros.contract import FeatureKind, ObservationSpec
from vla_ros.core.errors import ObservationError
from vla_ros.data.quality.signals import SMALL, PictureStream, Stream
from vla_ros.data.quality.thresholds import Thresholds
from vla_ros.observation.array_pool import ArrayPool
from vla_ros.observation.decompression import decompress_depth
from vla_ros.observation.image_messages import decode
from vla_ros.observation.images import TO_METRES

#: cv2's conversion to BGR and to grey, per ROS encoding of colours; None: it already is.
CONVERSIONS: dict[str, tuple[int | None, int | None]] = {
    "rgb8": (cv2.COLOR_RGB2BGR, cv2.COLOR_RGB2GRAY),
    "bgr8": (None, cv2.COLOR_BGR2GRAY),
    "rgba8": (cv2.COLOR_RGBA2BGR, cv2.COLOR_RGBA2GRAY),
    "bgra8": (cv2.COLOR_BGRA2BGR, cv2.COLOR_BGRA2GRAY),
    "mono8": (cv2.COLOR_GRAY2BGR, None),
}
#: Depth from here on is none [m].
FARTHEST_M = 1000.0
#: Thumbnails per camera, their largest side [px], and JPEG quality: some kB each.
THUMBNAILS, THUMBNAIL_PX, THUMBNAIL_QUALITY = 5, 160, 80
#: Exposure is judged on at most so many pixels: a grid of them is as good as all.
JUDGED_PIXELS = 20_000


class PictureMeter:
    """Measures the pictures of one camera as they are read."""

    def __init__(self, spec: ObservationSpec, thresholds: Thresholds, span_ns: int) -> None:
        """Measure the feature `spec`, of an episode that is about `span_ns` long [ns]."""
        self._spec, self._thresholds = spec, thresholds
        self._depth = spec.kind is FeatureKind.DEPTH
        self._rows: list[tuple[float, ...]] = []
        self._digests: list[int] = []
        self._first: NDArray[np.float32] | None = None
        self._before: NDArray[np.float32] | None = None
        self._every_ns = max(span_ns, 1) / THUMBNAILS
        self._next_ns: float | None = None
        self._thumbnails: list[tuple[int, bytes]] = []

    def add(self, message: Any, log_ns: int) -> str:
        """Measure a picture; return what is not as the contract says, or "".

        Raises:
            ObservationError: if it cannot be decoded; says why.
        """
        read = self._decompress if self._spec.compressed else self._decode
        pixels, encoding = read(message)
        self.measure(pixels, encoding, log_ns)
        return self._difference(pixels, encoding)

    def measure(self, pixels: NDArray[Any], encoding: str, log_ns: int) -> None:
        """Measure pixels (H, W) or (H, W, C) in a ROS encoding that is known."""
        self._digests.append(zlib.crc32(np.ascontiguousarray(pixels).data.cast("B")))
        grey = self._grey(pixels, encoding)
        small = cv2.resize(grey, (SMALL, SMALL), interpolation=cv2.INTER_AREA).astype(np.float32)
        change = 0.0 if self._before is None else float(np.abs(small - self._before).mean())
        if self._first is None:
            self._first = small
        self._before = small
        self._rows.append((*self._judge(grey), change))
        self._keep(pixels, encoding, log_ns)

    def finish(self, stream: Stream) -> PictureStream | None:
        """Return what was measured; None if nothing could be."""
        if self._first is None:
            return None
        columns = np.array(self._rows, np.float64).T
        return PictureStream(
            stream=stream,
            digests=np.array(self._digests, np.uint32),
            dark=columns[0],
            bright=columns[1],
            contrast=columns[2],
            level=columns[3],
            motion=columns[4],
            first=self._first.astype(np.float64),
            thumbnails=tuple(self._thumbnails),
        )

    def _judge(self, grey: NDArray[Any]) -> tuple[float, float, float, float]:
        step = max(1, int((grey.size / JUDGED_PIXELS) ** 0.5))
        few = grey[::step, ::step].astype(np.float32)
        if self._depth:
            seen = few[few > 0.0]
            level, spread = (float(seen.mean()), float(seen.std())) if seen.size else (0.0, 0.0)
            return 1.0 - seen.size / few.size, 0.0, spread, level
        limits = self._thresholds
        return (
            float((few < limits.dark_level).mean()),
            float((few >= limits.bright_level).mean()),
            float(few.std()),
            float(few.mean()),
        )

    def _grey(self, pixels: NDArray[Any], encoding: str) -> NDArray[Any]:
        """Return grey levels of 255, or depth in [m] with holes at 0."""
        if self._depth:
            filled = np.nan_to_num(pixels.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
            metres = filled * np.float32(TO_METRES[encoding])
            # damaged bytes may be any number: what no sensor reaches is a hole
            return np.where((metres > 0.0) & (metres < FARTHEST_M), metres, np.float32(0.0))
        conversion = CONVERSIONS[encoding][1]
        grey: NDArray[Any] = pixels if conversion is None else cv2.cvtColor(pixels, conversion)
        return grey

    def _decode(self, message: Any) -> tuple[NDArray[Any], str]:
        """Decode whatever size and encoding it has: that it is another is found, not refused."""
        encoding, known = str(message.encoding), tuple(TO_METRES if self._depth else CONVERSIONS)
        if encoding not in known:
            raise ObservationError(
                self._spec.topic, f"expected an encoding of {', '.join(known)}, got '{encoding}'"
            )
        pixels = decode(
            message, topic=self._spec.topic, encoding=encoding, width=message.width,
            height=message.height,
        )  # fmt: skip
        return pixels, encoding

    def _decompress(self, message: Any) -> tuple[NDArray[Any], str]:
        data = np.asarray(message.data, np.uint8)
        spec = self._spec
        if self._depth:
            metres = decompress_depth(
                data.tobytes(), topic=spec.topic, encoding=spec.encoding, width=spec.width,
                height=spec.height, pool=ArrayPool(),
            )  # fmt: skip
            return metres, "32FC1"
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if pixels is None:
            raise ObservationError(
                spec.topic, f"{message.format!r} of {data.size} bytes cannot be decoded"
            )
        if spec.encoding not in re.findall(r"\w+", message.format.lower().replace("jpg", "jpeg")):
            raise ObservationError(
                spec.topic, f"expected {spec.encoding}, got format '{message.format}'"
            )
        return pixels, "bgr8"

    def _difference(self, pixels: NDArray[Any], encoding: str) -> str:
        spec, (height, width) = self._spec, pixels.shape[:2]
        if (width, height) != (spec.width, spec.height):
            return f"expected {spec.width}x{spec.height} px, got {width}x{height} px"
        if not spec.compressed and encoding != spec.encoding:
            return f"expected encoding {spec.encoding}, got {encoding}"
        return ""

    def _keep(self, pixels: NDArray[Any], encoding: str, log_ns: int) -> None:
        if self._depth or (self._next_ns is not None and log_ns < self._next_ns):
            return
        self._next_ns = log_ns + self._every_ns
        conversion = CONVERSIONS[encoding][0]
        colours = pixels if conversion is None else cv2.cvtColor(pixels, conversion)
        scale = min(1.0, THUMBNAIL_PX / max(colours.shape[:2]))
        shape = (round(colours.shape[1] * scale), round(colours.shape[0] * scale))
        drawn = cv2.resize(colours, shape, interpolation=cv2.INTER_AREA)
        _, coded = cv2.imencode(".jpg", drawn, (cv2.IMWRITE_JPEG_QUALITY, THUMBNAIL_QUALITY))
        self._thumbnails.append((log_ns, coded.tobytes()))
