"""A recording with a fault in most episodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

#: Planted in this order, then two good episodes; `duplicate` adds one behind its own.
PLANTED = ("frozen", "limits", "skew", "idle", "typo", "cut", "duplicate")


@dataclass(frozen=True, slots=True)
class Planted:
    """A recording, and the episode of each fault in it by the check that is for it."""

    folder: Path
    faults: dict[str, str]
    good: tuple[str, ...]


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """Do not write into it."""
    pytest.importorskip("rclpy", reason="recordings are made with ROS 2's messages")
    from vla_ros.sim import noun_phrases
    from vla_ros.testing.recording_faults import FAULTS, record_realistic

    folder = tmp_path_factory.mktemp("quality") / "recording"
    faults = {fault.check: fault for fault in FAULTS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noun_phrases, "TYPO", 0.0)
        chosen = [*(faults[name] for name in PLANTED), None, None]
        folders = record_realistic(folder, range(50, 50 + len(chosen)), chosen)
    names = [path.name for path in folders]
    return Planted(folder, dict(zip(PLANTED, names, strict=False)), tuple(names[-2:]))
