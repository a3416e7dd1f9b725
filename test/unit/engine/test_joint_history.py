"""What a policy is told of the joints."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.core.errors import ObservationError
from vla_ros.core.types import Observation
from vla_ros.engine.joint_history import JointHistory


def seen(ms: int, *positions: float, command: tuple[float, ...] | None = None) -> Observation:
    lead = None if command is None else np.array(command, np.float32)
    return Observation(
        stamp_ns=ms * 1_000_000, state=np.array(positions, np.float32), command=lead
    )


def test_velocity_is_taken_over_the_time_nearest_to_50_ms() -> None:
    joints = JointHistory(2)
    for ms, position in ((1000, 0.0), (1060, 0.06), (1090, 5.0)):
        joints.read(seen(ms, position, 0.0))
    told = joints.read(seen(1110, 0.11, 0.0))
    np.testing.assert_allclose(told, [[0.11, 0.0, 1.0, 0.0, 0.0, 0.0]], atol=1e-5)


@pytest.mark.parametrize("later_ms", [10, 151])
def test_over_too_short_or_too_long_a_time_there_is_no_velocity(later_ms: int) -> None:
    joints = JointHistory(1)
    joints.read(seen(1000, 0.0))
    assert joints.read(seen(1000 + later_ms, 0.5))[0, 1] == 0.0


def test_when_time_is_set_back_what_was_seen_is_forgotten() -> None:
    joints = JointHistory(1)
    joints.read(seen(5000, 1.0))
    joints.read(seen(1000, 0.0))
    np.testing.assert_allclose(joints.read(seen(1050, 0.05))[0, 1], 1.0, atol=1e-5)


def test_the_lead_is_how_far_the_command_is_ahead() -> None:
    told = JointHistory(1).read(seen(1000, 0.25, command=(0.5,)))
    np.testing.assert_array_equal(told, [[0.25, 0.0, 0.25]])


@pytest.mark.parametrize("bad", [(np.nan,), (0.0, 0.0)])
def test_what_is_not_finite_or_another_number_of_joints_is_refused(bad: tuple[float, ...]) -> None:
    with pytest.raises(ObservationError, match=r"observation\.state: expected 1 finite"):
        JointHistory(1).read(seen(1000, *bad))
