"""Chunks, errors and limits check what they are given."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.core.errors import ObservationError, UserError
from vla_ros.core.limits import JointLimits
from vla_ros.core.types import ActionChunk


def test_a_chunk_knows_when_it_ends() -> None:
    chunk = ActionChunk(stamp_ns=10, step_s=0.05, joint_names=("a",), positions=np.zeros((12, 1)))
    assert (chunk.horizon, chunk.end_ns) == (12, 600_000_010)


def test_an_observation_error_names_its_source() -> None:
    error = ObservationError("/imu", "is 0.4 s old")
    assert isinstance(error, UserError)
    assert (error.source, error.reason, str(error)) == (
        "/imu",
        "is 0.4 s old",
        "/imu: is 0.4 s old",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"velocity": [1.0, 0.0]}, "elbow: velocity must be finite"),
        ({"jerk": [1.0, np.nan]}, "elbow: jerk must be finite"),
        ({"upper": [1.0, np.inf]}, "elbow: upper must be finite"),
        ({"lower": [0.0, 1.0]}, r"elbow: lower 1.0 must be below upper 1.0"),
        ({"lower": [0.0]}, "lower: expected 2 values"),
        ({"names": ("elbow", "elbow")}, "names must be given and differ"),
    ],
)
def test_limits_that_make_no_sense_are_refused_and_name_the_joint(
    change: dict[str, object], message: str
) -> None:
    values: dict[str, object] = {
        "names": ("shoulder", "elbow"),
        "lower": [0.0, 0.0],
        "upper": [1.0, 1.0],
        "velocity": [1.0, 1.0],
        "acceleration": [1.0, 1.0],
        "jerk": [1.0, 1.0],
    }
    with pytest.raises(ValueError, match=message):
        JointLimits(**(values | change))  # type: ignore[arg-type]
