"""Bad recordings are named with the episode and the time, and refused or skipped as asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vla_ros.contract import load_contract
from vla_ros.core.errors import UserError
from vla_ros.data.episode import CONTRACT, State, read_episode, write_episode
from vla_ros.data.lerobot.conversion import convert
from vla_ros.data.lerobot.features import DatasetFeatures
from vla_ros.data.lerobot.reader import LeRobotReader
from vla_ros.data.lerobot.staging import Conversion
from vla_ros.testing.small_recordings import (
    EPOCH_NS,
    SmallEpisode,
    write_small_contract,
    write_small_recording,
)

FRONT, WRIST, JOINTS = "/camera/front/image_raw", "/camera/wrist/image_raw", "/joint_states"
COMMANDS = "/forward_position_controller/commands"
#: The episode that is spoilt begins here [ns].
BEGIN_NS = EPOCH_NS + 60_000_000_000


def without(name: str) -> Callable[..., Any]:
    return lambda topic, message, now: None if topic == name else (message, now)


def two_sizes(topic: str, message: Any, now_ns: int) -> tuple[Any, int]:
    if topic == WRIST and now_ns >= BEGIN_NS + 500_000_000:
        message.width, message.step, message.data = 16, 48, message.data[: 24 * 48]
    return message, now_ns


def other_clock(topic: str, message: Any, now_ns: int) -> tuple[Any, int]:
    if topic == JOINTS:
        message.header.stamp.sec -= 1000
    return message, now_ns


def other_clock_later(topic: str, message: Any, now_ns: int) -> tuple[Any, int]:
    if topic == "/imu" and now_ns >= BEGIN_NS + 300_000_000:
        message.header.stamp.sec += 7
    return message, now_ns


def no_number(topic: str, message: Any, now_ns: int) -> tuple[Any, int]:
    if topic == JOINTS and now_ns >= BEGIN_NS + 700_000_000:
        message.position[2] = np.nan
    return message, now_ns


def frozen_out(topic: str, message: Any, now_ns: int) -> tuple[Any, int] | None:
    gone = BEGIN_NS + 400_000_000 <= now_ns < BEGIN_NS + 700_000_000
    return None if topic == FRONT and gone else (message, now_ns)


def too_few_joints(topic: str, message: Any, now_ns: int) -> tuple[Any, int]:
    if topic == COMMANDS:
        message.data = message.data[:5]
    return message, now_ns


def half_rate(topic: str, message: Any, now_ns: int) -> tuple[Any, int] | None:
    count = round((now_ns - BEGIN_NS) / 33_333_333)
    return None if topic == FRONT and count % 2 else (message, now_ns)


SPOILT = {
    "a topic of the contract is missing": (
        without("/imu"),
        r"there is no message of /imu \(sensor_msgs/msg/Imu\)",
    ),
    "there are no commands": (without(COMMANDS), f"there is no message of {COMMANDS}"),
    "two resolutions in one topic": (
        two_sizes,
        rf"at 0\.5\d\d s: {WRIST}: image is 16x24 px, the contract says 32x24 px",
    ),
    "stamps are of another clock": (
        other_clock,
        rf"at 0\.000 s: {JOINTS}: the stamp is 1000\.000 s before .* \(100 of 100 messages\)",
    ),
    "the clock changes": (
        other_clock_later,
        r"at 0\.300 s: /imu: the stamp is -7\.000 s before the message came",
    ),
    "a number is none": (
        no_number,
        rf"at 0\.700 s: {JOINTS}: position of elbow_flex is not finite",
    ),
    "the reference camera stops for a while": (
        frozen_out,
        rf"at 0\.3\d\d s: {FRONT} brings no frame for 0\.3\d\d s; at most 0\.15 s count",
    ),
    "commands are of other joints": (
        too_few_joints,
        rf"at 0\.000 s: {COMMANDS}: expected 6 finite targets",
    ),
    "the camera is slower than the contract says": (
        half_rate,
        rf"{FRONT} has 1\d\.\d frames/s, the contract says 30",
    ),
}


def record(folder: Path, **spoilt: Any) -> Path:
    """Write three episodes; the one in the middle is spoilt."""
    good = SmallEpisode(length_s=0.6)
    write_small_recording(folder, [good, SmallEpisode(**spoilt), replace(good, seed=1)])
    return folder


def run(recording: Path, output: Path, bad: str, **values: Any) -> Any:
    contract = load_contract(recording / "episode_000000" / CONTRACT)
    conversion = Conversion(features=DatasetFeatures(contract=contract), codec="h264", **values)
    return convert([recording], output, conversion, bad=bad, writer="own", workers=1)


def check(recording: Path, output: Path, said: str) -> None:
    """Check that the middle one is refused, then skipped, and the others are converted."""
    folder = recording / "episode_000001"
    with pytest.raises(UserError, match=rf"{re.escape(str(folder))}: .*{said}") as caught:
        run(recording, output, "refuse")
    assert "--bad skip" in str(caught.value)
    assert not (output / "meta").exists()
    report = run(recording, output, "skip")
    assert (report.episodes, list(report.skipped)) == (2, [str(folder)])
    assert re.search(said, report.skipped[str(folder)])
    reader = LeRobotReader(output)
    assert [row["vla_ros/number"] for row in reader.episodes] == [0, 2]
    assert all(len(list(reader.rows(number))) > 5 for number in range(2))


@pytest.mark.parametrize(("spoil", "said"), SPOILT.values(), ids=SPOILT.keys())
def test_what_is_wrong_is_named_with_episode_and_time(
    tmp_path: Path, spoil: Callable[..., Any], said: str
) -> None:
    check(record(tmp_path / "recording", spoil=spoil), tmp_path / "dataset", said)


def test_an_episode_that_was_cut_off_is_named_with_its_last_moment(tmp_path: Path) -> None:
    recording = record(tmp_path / "recording", state=State.CUT)
    folder = recording / "episode_000001"
    write_episode(folder, replace(read_episode(folder), cut="the disk is full"))
    check(recording, tmp_path / "dataset", r"at 0\.990 s: was cut off: the disk is full")


def test_a_file_that_ends_too_early_is_noticed_although_nobody_said_so(tmp_path: Path) -> None:
    recording = record(tmp_path / "recording", length_s=3.0)
    file = next((recording / "episode_000001").glob("*.mcap"))
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)
    check(recording, tmp_path / "dataset", r"was cut off: \d+ of \d+ messages of .* can be read")


def test_what_is_whole_of_an_episode_that_was_cut_off_can_be_kept(tmp_path: Path) -> None:
    recording = record(tmp_path / "recording", state=State.CUT)
    report = run(recording, tmp_path / "dataset", "refuse", keep_cut=True)
    assert (report.episodes, report.skipped) == (3, {})


def test_an_episode_of_another_contract_is_named_with_the_difference(tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    good = SmallEpisode(length_s=0.6)
    write_small_recording(recording, [good])
    other = tmp_path / "other.yaml"
    write_small_contract(other, {"observation.images.wrist": {"width": 64}})
    write_small_recording(recording, [SmallEpisode()], other)
    write_small_recording(recording, [good])
    check(
        recording,
        tmp_path / "dataset",
        "was recorded with another contract: observation.images.wrist size is 64x24 px, the "
        "dataset's is 32x24 px",
    )


def test_an_instruction_that_was_never_given_is_asked_for(tmp_path: Path) -> None:
    recording = record(tmp_path / "recording", instruction="")
    check(recording, tmp_path / "dataset", "there is no instruction; give one with --task")
    report = run(recording, tmp_path / "named", "refuse", task="lift it")
    assert report.episodes == 3
    assert set(LeRobotReader(tmp_path / "named").tasks) == {"lift the red cube", "lift it"}


def test_only_bad_episodes_are_an_error_that_says_why(tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    write_small_recording(recording, [SmallEpisode(spoil=without("/imu"))] * 2)
    with pytest.raises(UserError, match=r"none of 2 episodes can be converted; the first: .*/imu"):
        run(recording, tmp_path / "dataset", "skip")
