"""Recorded episodes read as the policy node would have seen them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vla_ros.core.conventions import IMU_WINDOW
from vla_ros.core.errors import ObservationError, UserError
from vla_ros.core.stamps import to_ns
from vla_ros.data.episode import CONTRACT
from vla_ros.data.frames import RecordedEpisode, open_episode
from vla_ros.testing.small_recordings import EPOCH_NS, SmallEpisode, write_small_recording

FRONT, WRIST = "/camera/front/image_raw", "/camera/wrist/image_raw"
COMMANDS = "/forward_position_controller/commands"


def episode(folder: Path, **values: Any) -> RecordedEpisode:
    """Write an episode, and open it."""
    return open_episode(write_small_recording(folder, [SmallEpisode(**values)])[0])


def test_a_frame_has_what_the_messages_said_at_the_reference_cameras_stamps(
    tmp_path: Path,
) -> None:
    recorded = episode(tmp_path)
    frames = {frame.stamp_ns: frame for frame in recorded.frames()}
    images = {
        to_ns(message.header.stamp): np.array(message.data).reshape(24, 32, 3)
        for _, _, message in recorded.messages({FRONT})
    }
    assert len(frames) >= 28
    assert set(frames) <= set(images)
    for stamp_ns, frame in frames.items():
        np.testing.assert_array_equal(frame.observation.images["front"], images[stamp_ns])
        assert set(frame.observation.images) == {"front", "wrist"}
        assert frame.observation.state.dtype == np.float32
    last = frames[max(frames)].observation
    assert last.imu is not None
    assert last.imu.shape == (IMU_WINDOW, 6)


def test_the_action_is_the_command_in_force_one_period_later_and_a_chunk_goes_on(
    tmp_path: Path,
) -> None:
    recorded = episode(tmp_path)
    sent = [(now_ns, np.array(m.data)) for _, now_ns, m in recorded.messages({COMMANDS})]
    frame = list(recorded.frames())[10]

    def in_force(time_ns: int) -> np.ndarray[Any, Any]:
        return next(data for now_ns, data in reversed(sent) if now_ns <= time_ns)

    np.testing.assert_array_equal(frame.action, in_force(frame.stamp_ns + recorded.period_ns))
    chunk = recorded.targets(frame.stamp_ns, 5, 0.05)
    for row in range(5):
        time_ns = frame.stamp_ns + (row + 1) * 50_000_000
        np.testing.assert_array_equal(chunk[row], in_force(time_ns))
    beyond = recorded.targets(frame.stamp_ns, 100, 1.0)
    np.testing.assert_array_equal(beyond[-1], sent[-1][1])


def test_who_acts_and_what_was_asked_for_change_when_they_were_said_to(tmp_path: Path) -> None:
    recorded = episode(tmp_path, actors=((0.0, "policy"), (0.4, "operator"), (0.7, "policy")))
    period_ns = recorded.period_ns
    for frame in recorded.frames():
        after_s = 1e-9 * (frame.stamp_ns + period_ns - EPOCH_NS)
        expected = "operator" if 0.4 <= after_s < 0.7 else "policy"
        assert frame.actor == expected
        assert frame.instruction == "lift the red cube"


def test_a_frame_without_a_required_camera_is_left_out_and_told(tmp_path: Path) -> None:
    def blind(topic: str, message: Any, now_ns: int) -> tuple[Any, int] | None:
        dark = EPOCH_NS + 400_000_000 <= now_ns < EPOCH_NS + 800_000_000
        return None if topic == WRIST and dark else (message, now_ns)

    recorded = episode(tmp_path, spoil=blind)
    gaps: list[tuple[int, ObservationError]] = []
    stamps = [f.stamp_ns for f in recorded.frames(lambda at, error: gaps.append((at, error)))]
    inside = [1e-9 * (at - EPOCH_NS) for at, _ in gaps if at > EPOCH_NS + 100_000_000]
    assert inside
    assert all(0.5 < at < 0.8 for at in inside), "an older image counts for 0.15 s"
    assert WRIST in str(gaps[-1][1])
    assert not set(stamps) & {at for at, _ in gaps}


def test_a_message_that_cannot_be_used_is_told_with_its_time_and_topic(tmp_path: Path) -> None:
    def shrink(topic: str, message: Any, now_ns: int) -> tuple[Any, int]:
        if topic == FRONT and now_ns >= EPOCH_NS + 500_000_000:
            message.height, message.data = 12, message.data[: 12 * message.step]
        return message, now_ns

    recorded = episode(tmp_path, spoil=shrink)
    refused: list[tuple[int, ObservationError]] = []
    frames = list(recorded.frames(on_refusal=lambda at, error: refused.append((at, error))))
    assert frames
    assert max(frame.stamp_ns for frame in frames) < EPOCH_NS + 500_000_000
    at_ns, error = refused[0]
    assert at_ns - EPOCH_NS == pytest.approx(500_000_000, abs=40_000_000)
    assert str(error) == f"{FRONT}: image is 32x12 px, the contract says 32x24 px"


def test_times_are_those_of_reception_and_stamps_those_of_the_headers(tmp_path: Path) -> None:
    def late(topic: str, message: Any, now_ns: int) -> tuple[Any, int]:
        return message, now_ns + (3_000_000 if topic == FRONT else 0)

    recorded = episode(tmp_path, spoil=late)
    np.testing.assert_array_equal(recorded.times(FRONT), recorded.stamps(FRONT) + 3_000_000)
    assert len(recorded.stamps(FRONT)) == recorded.info.topics[FRONT]
    assert not len(recorded.stamps(COMMANDS)), "commands have no stamp"
    assert not len(recorded.times("/nobody"))


def test_commands_that_never_came_are_an_error_that_names_episode_and_topic(
    tmp_path: Path,
) -> None:
    recorded = episode(
        tmp_path, spoil=lambda topic, m, now: None if topic == COMMANDS else (m, now)
    )
    with pytest.raises(UserError, match=f"episode_000000: there is no command .*{COMMANDS}"):
        next(recorded.frames())


def test_an_episode_without_its_contract_is_refused(tmp_path: Path) -> None:
    folder = write_small_recording(tmp_path, [SmallEpisode()])[0]
    (folder / CONTRACT).unlink()
    with pytest.raises(UserError, match="there is no such contract file"):
        open_episode(folder)
