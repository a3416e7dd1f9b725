"""Recordings that the tools are tried on."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def takes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of four simulated episodes of lifting and pushing; do not write into it."""
    pytest.importorskip("rclpy", reason="recordings are made with ROS 2's messages")
    from vla_ros.testing.recordings import record_simulated

    folder = tmp_path_factory.mktemp("recordings") / "takes"
    record_simulated(folder, [1, 2], skill="lift")
    record_simulated(folder, [3, 4], skill="push")
    return folder
