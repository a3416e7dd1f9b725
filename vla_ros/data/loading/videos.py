"""Frames of a video in the order of their numbers, with the file left open between calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import UserError
from vla_ros.data.lerobot.video import import_av

#: Rather decode so many frames that nobody asked for than look for a key frame.
SKIPPED = 2


class VideoReader:
    """Reads frames that follow one another; a jump costs a search for the key frame before it."""

    def __init__(self, path: Path, fps: float) -> None:
        """Open a video.

        Args:
            path: Of the file.
            fps: Frames per second; frame `k` is at `k / fps`.

        Raises:
            UserError: if there is no such video.
        """
        av = import_av()
        try:
            self._container: Any = av.open(str(path))
            self._stream: Any = self._container.streams.video[0]
        except (OSError, IndexError) as error:
            raise UserError(f"{path}: cannot be read: {error}") from error
        self._stream.thread_type = "NONE"  # the processes that load are as many as the cores
        self._stream.codec_context.thread_count = 1
        self._path, self._fps = path, fps
        self._frames: Any = iter(())
        self._next: int | None = None

    def read(self, first: int, count: int) -> list[NDArray[np.uint8]]:
        """Return the images (H, W, 3) of `count` frames from number `first` on.

        Raises:
            UserError: if the video has not so many.
        """
        if self._next is None or not self._next <= first <= self._next + SKIPPED:
            time_s = first / self._fps
            self._container.seek(max(0, int(time_s / self._stream.time_base)), stream=self._stream)
            self._frames = self._container.decode(self._stream)
        images: list[NDArray[np.uint8]] = []
        for frame in self._frames:
            number = round(float(frame.pts * self._stream.time_base) * self._fps)
            self._next = number + 1
            if number < first:
                continue
            images.append(frame.to_ndarray(format="rgb24"))
            if len(images) == count:
                return images
        self._next = None
        raise UserError(
            f"{self._path}: has {first + len(images)} frames, and the dataset says more than "
            f"{first + count - 1}; it was cut off, or its parts do not belong together"
        )

    def close(self) -> None:
        """Close the file."""
        self._container.close()
