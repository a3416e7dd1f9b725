"""Videos of a camera: encoded in a thread of their own, put one behind the other, and read."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import UserError

UInt8Array = NDArray[np.uint8]

#: LeRobot's options: a key frame every other frame, so that any frame is decoded soon.
CODECS = {
    "libsvtav1": {"g": "2", "crf": "30", "preset": "12", "svtav1-params": "lp=1"},
    "h264": {"g": "2", "crf": "30", "threads": "1"},
}
#: Images that wait for the encoder, at most.
WAITING = 8


class VideoEncoder:
    """Encodes images as they come; encoders let go of Python's lock, so several run at once."""

    def __init__(self, path: Path, fps: int, codec: str) -> None:
        """Begin a file.

        Raises:
            UserError: if the codec is none of `CODECS`, or PyAV is not installed.
        """
        if codec not in CODECS:
            raise UserError(f"codec '{codec}': expected one of {', '.join(CODECS)}")
        self._path, self._fps, self._codec = path, fps, codec
        self._images: queue.Queue[UInt8Array | None] = queue.Queue(WAITING)
        self._error: BaseException | None = None
        self._ended = False
        self._av = import_av()
        self._thread = threading.Thread(target=self._run, name=f"encode {path.stem}", daemon=True)
        self._thread.start()

    def add(self, image: UInt8Array) -> None:
        """Take the next image (H, W, 3); waits while too many wait already."""
        self._images.put(image)

    def close(self) -> None:
        """Encode the rest, and end the file.

        Raises:
            UserError: if something went wrong while encoding: a full disk, say.
        """
        self._images.put(None)
        self._thread.join()
        if self._error is not None:
            raise UserError(
                f"{self._path}: cannot be encoded with {self._codec}: {self._error!r}"
            ) from self._error

    def _run(self) -> None:
        try:
            self._encode()
        except BaseException as error:  # noqa: BLE001 `close` raises it
            self._error = error
            while self._next() is not None:  # whoever adds is not to wait for ever
                pass

    def _next(self) -> UInt8Array | None:
        if self._ended:
            return None
        image = self._images.get()
        self._ended = image is None
        return image

    def _encode(self) -> None:
        os.environ.setdefault("SVT_LOG", "1")  # errors only
        with self._av.open(str(self._path), "w") as container:
            stream: Any = None
            while (image := self._next()) is not None:
                if stream is None:
                    stream = container.add_stream(
                        self._codec, self._fps, options=CODECS[self._codec]
                    )
                    stream.height, stream.width = image.shape[:2]
                    stream.pix_fmt = "yuv420p"
                frame = self._av.VideoFrame.from_ndarray(image, format="rgb24")
                container.mux(stream.encode(frame))
            if stream is not None:
                container.mux(stream.encode())


def join_videos(parts: Sequence[tuple[Path, int]], path: Path, fps: int) -> None:
    """Put videos of one camera one behind the other without encoding them again.

    Args:
        parts: Their files, and how many frames each has.
        path: Where to.
        fps: Of all of them; frame `k` of the whole is at exactly `k / fps`.
    """
    av = import_av()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, base = path.with_suffix(".partial.mp4"), Fraction(1, 512 * fps)
    with av.open(str(partial), "w", options={"movflags": "faststart"}) as target:
        stream: Any = None
        before = 0
        for part, frames in parts:
            with av.open(str(part)) as source:
                origin = source.streams.video[0]
                if stream is None:
                    stream = target.add_stream_from_template(origin, opaque=True)
                    stream.time_base = base
                for packet in source.demux(origin):
                    if packet.dts is None:
                        continue
                    scale = packet.time_base / base
                    packet.pts = round(packet.pts * scale) + before * 512
                    packet.dts = round(packet.dts * scale) + before * 512
                    packet.duration = 512
                    packet.time_base, packet.stream = base, stream
                    target.mux(packet)
            before += frames
    partial.replace(path)


def read_video(path: Path, from_s: float = 0.0, count: int | None = None) -> Iterator[UInt8Array]:
    """Yield the images (H, W, 3) of a video, from a time [s] on.

    Args:
        path: Of the video.
        from_s: Time of the first image that is wanted.
        count: How many; None for all.
    """
    if count == 0:
        return
    with import_av().open(str(path)) as container:
        stream = container.streams.video[0]
        half_s = 0.5 / float(stream.average_rate)
        container.seek(max(0, round(from_s / stream.time_base)), stream=stream)
        for frame in container.decode(stream):
            if float(frame.pts * stream.time_base) < from_s - half_s:
                continue
            yield frame.to_ndarray(format="rgb24")
            if count is not None:
                count -= 1
                if count == 0:
                    return


def describe_video(path: Path) -> dict[str, Any]:
    """Return what LeRobot's `info.json` says of a video."""
    with import_av().open(str(path)) as container:
        stream = container.streams.video[0]
        return {
            "video.height": stream.height,
            "video.width": stream.width,
            "video.codec": stream.codec.canonical_name,
            "video.pix_fmt": stream.pix_fmt,
            "video.is_depth_map": False,
            "video.fps": int(stream.average_rate),
            "video.channels": 3,
            "has_audio": False,
        }


def import_av() -> Any:
    """Return PyAV, which reads and writes videos.

    Raises:
        UserError: if it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UserError(
            "videos are read and written with PyAV, which is not installed: pip install "
            "'vla_ros[data]'"
        ) from error
    return av
