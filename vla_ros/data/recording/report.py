"""What a recorder says about itself."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderReport:
    """What a recorder does.

    Attributes:
        recording: Whether an episode is being recorded.
        watching: Whether the last seconds are kept in memory.
        path: Folder of the episode that is recorded; of the last one while none is; "" for none.
        instruction: Of that episode.
        duration_s: How long it is so far [s].
        messages: Of it.
        bytes: Of it, on disk.
        lost: Messages of it that came and could not be kept, or were lost on their way.
        disk_free: What the disk takes [bytes].
        episodes: That are complete.
        warnings: What is amiss now, in words.
    """

    recording: bool = False
    watching: bool = False
    path: str = ""
    instruction: str = ""
    duration_s: float = 0.0
    messages: int = 0
    bytes: int = 0
    lost: int = 0
    disk_free: int = 0
    episodes: int = 0
    warnings: tuple[str, ...] = field(default_factory=tuple)
