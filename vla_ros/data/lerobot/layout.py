"""Where the files of a LeRobotDataset v3 lie, and how large they get."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CODEBASE_VERSION = "v3.0"
#: Files in a folder, and sizes of parquet and video files [MB]: LeRobot's own.
CHUNK_SIZE, DATA_FILE_MB, VIDEO_FILE_MB = 1000, 100, 200

INFO, STATS = "meta/info.json", "meta/stats.json"
TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
#: What LeRobot does not know: the robot contract, and how the dataset was made.
ORIGIN = "meta/vla_ros.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePlace:
    """Number of a file and of the chunk of files that it is in."""

    chunk: int = 0
    file: int = 0

    @property
    def next(self) -> FilePlace:
        """The place after this."""
        if self.file == CHUNK_SIZE - 1:
            return FilePlace(chunk=self.chunk + 1, file=0)
        return FilePlace(chunk=self.chunk, file=self.file + 1)

    def path(self, root: Path, pattern: str, video_key: str = "") -> Path:
        """Return the file of one of the patterns above."""
        return root / pattern.format(
            video_key=video_key, chunk_index=self.chunk, file_index=self.file
        )
