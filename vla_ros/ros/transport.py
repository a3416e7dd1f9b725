"""Fast DDS set-up that must happen before `rclpy.init`, and what is known about large frames."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

from vla_ros.core.resources import resource_path

PROFILE_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
#: Newer Fast DDS releases read this name first.
PROFILE_VARIABLES = (PROFILE_VARIABLE, "FASTDDS_DEFAULT_PROFILES_FILE")

#: Largest message [byte] that Fast DDS's default shared-memory segment (0.5 MB) was measured to
#: carry whole at 30 Hz.
DEFAULT_SEGMENT_LIMIT = 400_000


def profile_path() -> Path:
    """Return where the shipped Fast DDS profile is."""
    return resource_path("config/fastdds.xml")


def use_shipped_profile(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Point Fast DDS at the shipped profile unless the user chose one; call before `rclpy.init`.

    Returns:
        Whether the shipped profile is in force.
    """
    chosen = [environment[name] for name in PROFILE_VARIABLES if environment.get(name)]
    if not chosen:
        if "fastrtps" not in environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"):
            return False
        environment[PROFILE_VARIABLE] = str(profile_path())
        return True
    return Path(chosen[0]).name == profile_path().name


def large_frame_advice(frame_bytes: int) -> str:
    """Return the likely cause of lost frames of this size [byte] and its cure, or ''."""
    if frame_bytes <= DEFAULT_SEGMENT_LIMIT:
        return ""
    return (
        f"likely cause: frames of {frame_bytes / 1e6:.2f} MB overflow the 0.5 MB shared-memory "
        f"segment that Fast DDS gives a publisher by default; cure: start the camera driver with "
        f"{PROFILE_VARIABLE}={profile_path()}, or set it to reliable and this node to "
        f"sensor_reliability:=reliable"
    )
