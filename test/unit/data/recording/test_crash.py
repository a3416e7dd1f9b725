from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from vla_ros.contract import find_contract, load_contract
from vla_ros.core.errors import UserError
from vla_ros.data.episode import State, message_files, read_episode
from vla_ros.data.recording.recorder import Recorder
from vla_ros.data.recording.recovery import recover_recording
from vla_ros.data.recording.settings import RecorderSettings
from vla_ros.testing.recorded_messages import image, topics
from vla_ros.testing.waiting import wait_for

LONGEST_LOSS_S = 1.0


class RecordingProcess:
    """Records until it is killed."""

    def __init__(self, folder: Path) -> None:
        module = "vla_ros.testing.recording_process"
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, str(folder)], stdout=subprocess.PIPE, text=True
        )

    def wait_ready(self) -> None:
        """Return when an episode is complete and the next one is being recorded."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def kill_after(self, seconds: float) -> int:
        """Kill it, and return when [ns]."""
        threading.Event().wait(seconds)  # a random time is what is tested
        killed_ns = time.time_ns()
        self.process.kill()
        self.process.wait()
        return killed_ns


def digest(folder: Path) -> dict[str, str]:
    """Return a checksum of every file of an episode, and when it was changed."""
    return {
        path.name: f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
        for path in sorted(folder.iterdir())
    }


def readable(folder: Path) -> list[int]:
    """Return when the messages of an episode came [ns], as `mcap` and rosbags read them."""
    found = []
    for path in message_files(folder):
        with path.open("rb") as file:
            reader = make_reader(file, validate_crcs=True)
            found += [
                (message.log_time, message.sequence) for *_, message in reader.iter_messages()
            ]
    with AnyReader([folder]) as bag:
        assert bag.message_count == len(found)
    assert all(second[1] == first[1] + 1 for first, second in pairwise(found))
    return [log_ns for log_ns, _ in found]


def kill_and_recover(place: Path, times_s: list[float]) -> None:
    """Kill a recorder at each time, mend what it left, and check every episode of its folder."""
    folders = [place / str(number) for number in range(len(times_s))]
    processes = [RecordingProcess(folder) for folder in folders]
    for folder, process, seconds in zip(folders, processes, times_s, strict=True):
        check_recovery(folder, process, seconds)


def check_recovery(folder: Path, process: RecordingProcess, seconds: float) -> None:
    process.wait_ready()
    earlier, cut = folder / "episode_000000", folder / "episode_000001"
    before = digest(earlier)
    killed_ns = process.kill_after(seconds)
    mended = recover_recording(folder)
    assert [item.folder for item in mended] == [cut]
    times_ns = readable(cut)
    assert 1e-9 * (killed_ns - times_ns[-1]) <= LONGEST_LOSS_S
    episode = read_episode(cut)
    assert episode.state is State.CUT
    assert "without closing it" in episode.cut
    assert sum(episode.topics.values()) == len(times_ns)
    assert (episode.start_ns, episode.end_ns) == (times_ns[0], times_ns[-1])
    assert digest(earlier) == before
    assert len(readable(earlier)) == 20
    assert recover_recording(folder) == []


def test_a_recorder_that_is_killed_loses_a_second_at_most_and_no_earlier_episode(
    tmp_path: Path,
) -> None:
    rng = random.Random(0)
    kill_and_recover(tmp_path, [rng.uniform(0.5, 1.2) for _ in range(5)])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_recorder_that_is_killed_50_times_loses_a_second_at_most(tmp_path: Path) -> None:
    rng = random.Random(1)
    for number in range(10):
        times_s = [rng.uniform(0.4, 2.5) for _ in range(5)]
        kill_and_recover(tmp_path / f"round_{number}", times_s)


def test_a_recorder_that_starts_mends_what_the_one_before_left(tmp_path: Path) -> None:
    process = RecordingProcess(tmp_path)
    process.wait_ready()
    process.kill_after(0.6)
    make_recorder(tmp_path).close()
    assert read_episode(tmp_path / "episode_000001").state is State.CUT
    assert readable(tmp_path / "episode_000001")


def test_a_folder_in_which_somebody_records_is_not_mended(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    recorder.begin().result()
    with pytest.raises(UserError, match="another recorder works in this folder"):
        recover_recording(tmp_path)
    recorder.close()
    assert read_episode(tmp_path / "episode_000000").state is State.COMPLETE


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def make_recorder(folder: Path, file_bytes: int = 2 * 10**9) -> Recorder:
    recorder = Recorder(
        RecorderSettings(
            folder=folder,
            contract=load_contract("tabletop_sim"),
            contract_text=find_contract("tabletop_sim").read_bytes(),
            file_bytes=file_bytes,
        ),
        time.time_ns,
    )
    for spec in topics():
        recorder.add_topic(spec)
    return recorder


@pytest.mark.parametrize("file_bytes", [2 * 10**9, 100_000, 300_000])
def test_a_full_disk_ends_the_episode_which_keeps_what_it_had_and_no_earlier_one_is_touched(
    small_disk: Path, file_bytes: int
) -> None:
    recorder = make_recorder(small_disk, file_bytes)
    earlier = recorder.begin().result()
    for number in range(20):
        recorder.receive(image(number, time.time_ns()))
    recorder.end().result()
    before = digest(earlier)
    cut = recorder.begin().result()
    sent = 0
    last_ns = 0

    def fill() -> bool:
        nonlocal sent, last_ns
        if not recorder.report.recording and sent:
            return True
        for _ in range(10):
            last_ns = time.time_ns()
            recorder.receive(image(sent, last_ns))
            sent += 1
        return False

    wait_for(fill, "the disk to be full", 30.0)
    episode = read_episode(cut)
    assert (episode.state, episode.cut) == (
        State.CUT, "the disk refused what was written: No space left on device",
    )  # fmt: skip
    times_ns = readable(cut)
    assert 1e-9 * (last_ns - times_ns[-1]) <= LONGEST_LOSS_S
    assert sum(episode.topics.values()) == len(times_ns) > 500
    assert digest(earlier) == before
    with pytest.raises(UserError, match="MB are free: too little for an episode"):
        recorder.begin().result()
    recorder.close()
    assert recover_recording(small_disk) == []
