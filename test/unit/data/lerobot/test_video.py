"""Videos: encoded, joined and read, and what happens when that fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vla_ros.core.errors import UserError
from vla_ros.data.lerobot.video import (
    CODECS,
    VideoEncoder,
    describe_video,
    join_videos,
    read_video,
)


def write(path: Path, levels: list[int], codec: str = "h264") -> Path:
    """Encode one grey image for each level."""
    encoder = VideoEncoder(path, 30, codec)
    for level in levels:
        encoder.add(np.full((64, 96, 3), level, np.uint8))
    encoder.close()
    return path


def levels(path: Path, from_s: float = 0.0, count: int | None = None) -> list[int]:
    """Return the levels of a video's images, to the next ten."""
    return [10 * round(image.mean() / 10) for image in read_video(path, from_s, count)]


@pytest.mark.parametrize("codec", CODECS)
def test_what_is_joined_is_read_at_its_times(tmp_path: Path, codec: str) -> None:
    parts = {"a": [10, 30, 50, 70, 90], "b": [200, 180, 160], "c": [40] * 2 + [120] * 4}
    files = [(write(tmp_path / f"{k}.mp4", v, codec), len(v)) for k, v in parts.items()]
    join_videos(files, tmp_path / "whole.mp4", 30)
    every = [level for part in parts.values() for level in part]
    assert levels(tmp_path / "whole.mp4") == every
    for first in range(len(every)):
        assert levels(tmp_path / "whole.mp4", first / 30, 3) == every[first : first + 3]
    assert not list(tmp_path.glob("*partial*"))


def test_what_lerobot_says_of_a_video_is_read_from_it(tmp_path: Path) -> None:
    said = describe_video(write(tmp_path / "a.mp4", [10, 20]))
    assert (said["video.height"], said["video.width"], said["video.fps"]) == (64, 96, 30)
    assert (said["video.codec"], said["video.pix_fmt"]) == ("h264", "yuv420p")


def test_a_file_that_cannot_be_written_is_an_error_and_nobody_waits(tmp_path: Path) -> None:
    encoder = VideoEncoder(tmp_path / "nowhere" / "a.mp4", 30, "h264")
    for _ in range(50):  # more than wait for the encoder
        encoder.add(np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(
        UserError, match=r"nowhere/a\.mp4: cannot be encoded with h264: .*No such file"
    ):
        encoder.close()


def test_an_unknown_codec_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="codec 'mpeg1': expected one of libsvtav1, h264"):
        VideoEncoder(tmp_path / "a.mp4", 30, "mpeg1")
