from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from vla_ros.contract import DEPTHS, IMAGES, IMU, STATE
from vla_ros.core.errors import ObservationError
from vla_ros.observation.aligner import ObservationAligner
from vla_ros.observation.stream import StreamSpec

MS = 1_000_000
FRONT, WRIST, DEPTH = IMAGES + "front", IMAGES + "wrist", DEPTHS + "front"


def spec(feature: str, rate_hz: float = 30.0, *, required: bool = True) -> StreamSpec:
    return StreamSpec(
        feature=feature,
        topic=f"/{feature}",
        rate_hz=rate_hz,
        max_age_s=0.15,
        required=required,
        history=40,
    )


def make_aligner() -> ObservationAligner:
    return ObservationAligner(
        [
            spec(FRONT),
            spec(WRIST),
            spec(DEPTH, required=False),
            spec(IMU, 100.0, required=False),
            spec(STATE, 100.0),
        ]
    )


def fill(aligner: ObservationAligner, until_ms: int = 300, *, without: str = "") -> int:
    """Add everything up to `until_ms`; return the stamp of the last front frame [ns]."""
    for at_ms in range(0, until_ms + 1, 10):
        for feature, size in ((STATE, 6), (IMU, 6)):
            if feature != without:
                aligner.add(feature, at_ms * MS, np.full(size, float(at_ms)))
        if at_ms % 30 == 0:
            for feature in (FRONT, WRIST):
                if feature != without:
                    aligner.add(feature, at_ms * MS, np.full((4, 4, 3), at_ms % 256, np.uint8))
            if without != DEPTH:
                aligner.add(DEPTH, at_ms * MS, np.full((4, 4), at_ms, np.float32))
    return until_ms // 30 * 30 * MS


def test_everything_in_an_observation_is_of_the_reference_frames_time() -> None:
    aligner = make_aligner()
    stamp = fill(aligner) - 60 * MS
    observation = aligner.build(stamp, stamp + 80 * MS)
    at_ms = stamp // MS
    assert observation.stamp_ns == stamp
    assert observation.images["front"][0, 0, 0] == observation.images["wrist"][0, 0, 0] == at_ms
    assert observation.depths["front"][0, 0] == at_ms
    np.testing.assert_array_equal(observation.state, np.full(6, at_ms, np.float32))
    assert observation.imu is not None
    assert observation.imu.shape == (20, 6)
    np.testing.assert_array_equal(observation.imu[:, 0], np.arange(at_ms - 190, at_ms + 1, 10))
    assert observation.state.dtype == observation.imu.dtype == np.dtype(np.float32)


def test_joints_are_told_at_the_frames_time_and_not_at_that_of_a_message() -> None:
    aligner = make_aligner()
    fill(aligner, without=FRONT)
    for at_ms in (254, 260):
        aligner.add(FRONT, at_ms * MS, np.zeros((4, 4, 3), np.uint8))
        state = aligner.build(at_ms * MS, 300 * MS).state
        np.testing.assert_allclose(state, at_ms, rtol=1e-6)
        found = aligner.state_at(at_ms * MS)
        assert found is not None
        np.testing.assert_array_equal(found, state)


@pytest.mark.parametrize("feature", [WRIST, STATE])
def test_a_missing_required_input_is_named_and_there_is_no_observation(feature: str) -> None:
    aligner = make_aligner()
    stamp = fill(aligner, without=feature)
    with pytest.raises(ObservationError, match=f"/{feature}: no message has arrived"):
        aligner.build(stamp, stamp)


def test_missing_optional_inputs_are_absent_and_not_zero() -> None:
    aligner = make_aligner()
    stamp = fill(aligner, without=DEPTH)
    aligner.refuse(IMU, "reading is not finite")
    observation = aligner.build(stamp, stamp)
    assert dict(observation.depths) == {}
    assert observation.imu is None


def test_a_stale_required_input_is_named_with_its_age() -> None:
    aligner = make_aligner()
    stamp = fill(aligner)
    for at_ms in range(300, 600, 10):
        for feature in (FRONT, WRIST):
            aligner.add(feature, at_ms * MS, np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ObservationError, match=f"/{STATE}: newest message is 0.290 s old"):
        aligner.build(590 * MS, 590 * MS)
    assert set(aligner.faults(590 * MS)) == {STATE, IMU, DEPTH}
    assert stamp == 300 * MS


def test_only_the_newest_frame_is_waited_for() -> None:
    aligner = make_aligner()
    first = fill(aligner, 120)
    assert aligner.wait_for_frame(None, 0.0) == first
    assert aligner.wait_for_frame(first, 0.0) is None
    for at_ms in (130, 160, 190):
        aligner.add(FRONT, at_ms * MS, np.zeros((4, 4, 3), np.uint8))
    assert aligner.wait_for_frame(first, 0.0) == 190 * MS


def test_a_waiting_thread_is_woken_by_the_frame() -> None:
    aligner = make_aligner()
    found: list[int | None] = []
    thread = threading.Thread(target=lambda: found.append(aligner.wait_for_frame(None, 5.0)))
    thread.start()
    aligner.add(FRONT, 7 * MS, np.zeros((4, 4, 3), np.uint8))
    thread.join(5.0)
    assert found == [7 * MS]


def test_a_frame_that_is_about_to_come_is_waited_for_and_a_dead_camera_is_not() -> None:
    aligner = make_aligner()
    fill(aligner, 300)
    aligner.add(FRONT, 333 * MS, np.zeros((4, 4, 3), np.uint8))

    def arrive() -> None:
        aligner.add(WRIST, 333 * MS, np.zeros((4, 4, 3), np.uint8))
        aligner.add(DEPTH, 333 * MS, np.zeros((4, 4), np.float32))

    late = threading.Timer(0.02, arrive)
    late.start()
    aligner.settle(333 * MS, 5.0)
    assert aligner.build(333 * MS, 333 * MS).images["wrist"].max() == 0
    dead = make_aligner()
    fill(dead, 300, without=WRIST)
    began = time.monotonic()
    dead.settle(300 * MS, 5.0)
    assert time.monotonic() - began < 1.0


def test_there_must_be_a_camera_and_joint_states() -> None:
    with pytest.raises(ValueError, match="need a camera and observation"):
        ObservationAligner([spec(STATE)])
    with pytest.raises(ValueError, match="need a camera and observation"):
        ObservationAligner([spec(FRONT)])


def test_all_images_of_an_instant_can_be_waited_for() -> None:
    aligner = make_aligner()
    last = fill(aligner)
    assert aligner.wait_for_images(last, 0.0)
    assert not aligner.wait_for_images(last + 1, 0.0)
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(aligner.wait_for_images(last + 1, 5.0)))
    thread.start()
    for feature in (FRONT, WRIST):
        aligner.add(feature, last + 1, np.zeros((4, 4, 3), np.uint8))
    aligner.add(DEPTH, last + 1, np.zeros((4, 4), np.float32))
    thread.join(5.0)
    assert found == [True]
