from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from vla_ros import __version__
from vla_ros.contract import find_contract, load_contract
from vla_ros.core.errors import UserError
from vla_ros.data.episode import (
    CONTRACT,
    DESCRIPTION,
    Outcome,
    State,
    episode_folders,
    message_files,
    read_episode,
)
from vla_ros.data.message_definitions import make_topic_spec
from vla_ros.data.message_file import read_messages
from vla_ros.data.recording.recorder import Recorder
from vla_ros.data.recording.recording_folder import NEW
from vla_ros.data.recording.settings import Arrival, RecorderSettings
from vla_ros.testing.recorded_messages import (
    CHUNK,
    IMAGE,
    INSTRUCTION,
    chunk,
    gate_status,
    image,
    instruction,
    topics,
)
from vla_ros.testing.waiting import wait_for

Make = Callable[..., Recorder]
CONTRACT_NAME = "tabletop_sim"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make recorders in the folder `recording`; they are closed with the test."""
    made: list[Recorder] = []

    def recorder(**changes: Any) -> Recorder:
        values: dict[str, Any] = {
            "folder": tmp_path / "recording",
            "contract": load_contract(CONTRACT_NAME),
            "contract_text": find_contract(CONTRACT_NAME).read_bytes(),
            "operator": "ada",
            **changes,
        }
        on_error = values.pop("on_error", None)
        made.append(Recorder(RecorderSettings(**values), time.time_ns, on_error))
        for spec in topics():
            made[-1].add_topic(spec)
        made[-1].add_topic(
            make_topic_spec("/vla/gate/status", "vla_ros_interfaces/msg/GateStatus")
        )
        return made[-1]

    yield recorder
    for item in made:
        item.close()


def send(recorder: Recorder, *arrivals: Arrival) -> None:
    for arrival in arrivals:
        recorder.receive(arrival)


def wait_for_more(recorder: Recorder, size: int) -> None:
    wait_for(lambda: recorder.report.bytes > size, "images on disk")


def images(first: int, count: int) -> list[Arrival]:
    """Return images that come now, 10 ms apart by their stamps."""
    return [image(number, time.time_ns()) for number in range(first, first + count)]


def recorded(folder: Path, topic: str = IMAGE) -> list[int]:
    """Return the numbers of a topic's messages."""
    messages = (item for path in message_files(folder) for item in read_messages(path))
    return [item.sequence for item in messages if item.topic == topic]


def test_an_episode_has_what_came_between_start_and_stop_and_no_more(make: Make) -> None:
    recorder = make()
    send(recorder, *images(0, 5))
    folder = recorder.begin("push the cube").result()
    send(recorder, *images(5, 20))
    episode = recorder.end().result()
    send(recorder, *images(25, 5))
    assert recorded(folder) == list(range(5, 25))
    assert (episode.state, episode.topics[IMAGE]) == (State.COMPLETE, 20)


def test_what_is_known_of_an_episode_is_beside_its_messages(make: Make) -> None:
    recorder = make()
    folder = recorder.begin("push the cube", "grace").result()
    send(recorder, *images(0, 3))
    recorder.end().result()
    episode = read_episode(folder)
    assert (episode.instruction, episode.operator) == ("push the cube", "grace")
    assert (episode.contract, episode.software) == (CONTRACT_NAME, __version__)
    text = (folder / CONTRACT).read_bytes()
    assert text == find_contract(CONTRACT_NAME).read_bytes()
    assert len(episode.contract_sha256) == 64
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    information = metadata["rosbag2_bagfile_information"]
    assert (information["version"], information["message_count"]) == (9, 3)


def test_what_is_latched_is_in_every_episode_although_it_was_said_before(make: Make) -> None:
    recorder = make()
    send(recorder, instruction("stack the blocks", time.time_ns()))
    first, second = recorder.begin().result(), recorder.begin().result()
    recorder.end().result()
    for folder in (first, second):
        assert recorded(folder, INSTRUCTION) == [1]
        assert read_episode(folder).instruction == "stack the blocks"


def test_an_episode_without_an_instruction_takes_the_first_that_comes(make: Make) -> None:
    recorder = make()
    folder = recorder.begin().result()
    send(recorder, instruction("stack the blocks", time.time_ns()))
    recorder.end().result()
    assert read_episode(folder).instruction == "stack the blocks"


def test_labels_discarding_and_taking_back(make: Make) -> None:
    recorder = make()
    first, second = recorder.begin().result(), recorder.begin().result()
    recorder.label(Outcome.SUCCESS, "on the edge").result()
    recorder.label(Outcome.FAILURE, "dropped it", 0).result()
    assert read_episode(second).outcome is Outcome.SUCCESS
    recorder.end().result()
    assert (read_episode(second).outcome, read_episode(second).label) == (
        Outcome.SUCCESS, "on the edge",
    )  # fmt: skip
    assert read_episode(first).outcome is Outcome.FAILURE
    recorder.discard().result()
    assert episode_folders(first.parent) == [first]
    assert recorder.undo().result() == second
    assert episode_folders(first.parent) == [first, second]


def test_the_number_of_a_discarded_episode_is_not_given_again(make: Make) -> None:
    recorder = make()
    first = recorder.begin().result()
    recorder.discard().result()
    assert recorder.begin().result().name == "episode_000001"
    assert not first.exists()


def test_what_cannot_be_done_is_said(make: Make) -> None:
    recorder = make()
    with pytest.raises(UserError, match="no episode is being recorded"):
        recorder.end().result()
    with pytest.raises(UserError, match="no episode was recorded since the start"):
        recorder.discard().result()
    with pytest.raises(UserError, match="no episode is discarded"):
        recorder.undo().result()
    with pytest.raises(UserError, match="no episode has the number 7"):
        recorder.label(Outcome.SUCCESS, "", 7).result()
    with pytest.raises(UserError, match="recent_s above 0"):
        recorder.save_recent().result()


def test_two_recorders_never_share_a_folder(make: Make) -> None:
    make()
    with pytest.raises(UserError, match="another recorder works in this folder"):
        make()


def test_files_are_rotated_and_the_bag_has_all_of_them(make: Make) -> None:
    recorder = make(file_bytes=50_000, flush_s=0.01)
    folder = recorder.begin().result()
    for number in range(0, 30, 10):
        send(recorder, *images(number, 10))
        wait_for_more(recorder, recorder.report.bytes)
    recorder.end().result()
    files = message_files(folder)
    assert len(files) > 2
    assert recorded(folder) == list(range(30))
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    information = metadata["rosbag2_bagfile_information"]
    assert information["relative_file_paths"] == [path.name for path in files]
    assert information["message_count"] == 30


def test_the_last_seconds_become_an_episode_after_the_fact(make: Make) -> None:
    recorder = make(recent_s=1.0)
    now_ns = time.time_ns()
    send(recorder, instruction("stack the blocks", now_ns))
    send(recorder, *(image(number, now_ns + number * 10_000_000) for number in range(200)))
    everything = recorder.save_recent().result()
    with pytest.raises(UserError, match="nothing has come since"):
        recorder.save_recent().result()
    send(recorder, *(image(number, now_ns + number * 10_000_000) for number in range(200, 300)))
    half = recorder.save_recent(0.5, "another task").result()
    assert recorded(everything) == list(range(99, 200))
    assert recorded(everything, INSTRUCTION) == [1]
    assert read_episode(everything).instruction == "stack the blocks"
    assert recorded(half) == list(range(249, 300))
    assert recorded(half, INSTRUCTION) == [1]
    assert read_episode(half).instruction == "another task"


def test_the_ring_keeps_to_its_memory(make: Make) -> None:
    size = len(image(0).data)
    recorder = make(recent_s=1000.0, recent_bytes=10 * (size + 300))
    send(recorder, *images(0, 50))
    assert recorded(recorder.save_recent().result()) == list(range(40, 50))


def test_what_finds_no_room_is_counted_and_named(make: Make) -> None:
    recorder = make(queue_bytes=3 * (len(image(0).data) + 300))
    folder = recorder.begin().result()
    busy = threading.Event()
    stuck = recorder._inbox.ask(lambda: busy.wait(10.0))
    send(recorder, *images(0, 10))
    busy.set()
    stuck.result()
    episode = recorder.end().result()
    assert recorded(folder) == [0, 1, 2]
    assert recorder.report.lost == 7
    assert any("7 messages were lost, since the disk is too slow" in w for w in episode.warnings)


def test_stamps_that_go_back_and_numbers_that_are_missing_are_warned_of(make: Make) -> None:
    recorder = make()
    folder = recorder.begin().result()
    send(recorder, *(image(number, time.time_ns()) for number in (1, 2, 5, 4)))
    recorder.end().result()
    warnings = " ".join(read_episode(folder).warnings)
    assert f"{IMAGE}: 2 messages were lost on their way" in warnings
    assert f"{IMAGE}: stamps went back 1 times, by up to 0.010 s" in warnings
    assert "of another clock" in warnings  # the stamps are of 2023


def test_silence_and_a_disk_that_is_nearly_full_are_warned_of(make: Make) -> None:
    recorder = make(low_disk_bytes=10**18)
    send(recorder, *images(0, 1))
    wait_for(
        lambda: any(f"{IMAGE}: silent for" in item for item in recorder.report.warnings), "silence"
    )
    assert any("disk: only" in item for item in recorder.report.warnings)


def test_continuous_episodes_follow_the_robot(make: Make) -> None:
    recorder = make(continuous=True, idle_s=0.5, lead_s=0.2)
    begin_ns, number = time.time_ns(), 0
    send(recorder, instruction("first", begin_ns))

    def go_on(seconds: float, speed: float, executes: bool = True) -> None:
        nonlocal number
        for _ in range(round(100 * seconds)):
            now_ns = begin_ns + number * 10_000_000
            status = gate_status(executes, [speed * number * 0.01], now_ns)
            send(recorder, image(number, now_ns), status)
            number += 1

    go_on(1.0, 0.0, executes=False)
    go_on(2.0, 0.5)
    go_on(1.0, 0.0, executes=False)
    go_on(1.0, 0.5)
    send(recorder, instruction("second", begin_ns + number * 10_000_000))
    go_on(1.0, 0.5)
    recorder.close()
    folders = episode_folders(recorder._place.path)
    assert [read_episode(folder).instruction for folder in folders] == ["first", "first", "second"]
    spans = [recorded(folder) for folder in folders]
    assert 75 <= spans[0][0] <= 105
    assert 300 <= spans[0][-1] <= 355  # the robot rested from 300 on
    assert 375 <= spans[1][0] <= 405
    assert spans[1][-1] + 1 == spans[2][0]  # nothing is lost in between


def test_closing_ends_the_episode(make: Make) -> None:
    recorder = make()
    folder = recorder.begin().result()
    send(recorder, *images(0, 3))
    recorder.close()
    assert read_episode(folder).state is State.COMPLETE
    assert recorded(folder) == [0, 1, 2]


def test_bytes_that_are_no_message_are_recorded_and_named(make: Make) -> None:
    recorder = make()
    folder = recorder.begin().result()
    send(recorder, Arrival(INSTRUCTION, b"\x00\x01\x00\x00\xff", time.time_ns(), 0, 1))
    recorder.end().result()
    assert recorded(folder, INSTRUCTION) == [1]
    assert f"{INSTRUCTION}: cannot be read" in json.dumps(read_episode(folder).warnings)


def test_static_transforms_of_several_publishers_are_all_in_an_episode(make: Make) -> None:
    recorder = make()
    recorder.add_topic(make_topic_spec("/tf_static", "tf2_msgs/msg/TFMessage", latched=True))
    for number, data in enumerate((b"camera", b"gripper", b"camera")):
        stamp_ns = time.time_ns()
        recorder.receive(Arrival("/tf_static", data, stamp_ns, stamp_ns, number))
    folder = recorder.begin().result()
    recorder.end().result()
    messages = [item for path in message_files(folder) for item in read_messages(path)]
    assert sorted(item.data for item in messages if item.topic == "/tf_static") == [
        b"camera",
        b"gripper",
    ]


def test_a_copy_of_an_episode_and_a_spoilt_one_are_no_concern_of_the_recorder(make: Make) -> None:
    recorder = make()
    folder = recorder.begin().result()
    recorder.end().result()
    shutil.copytree(folder, folder.with_name(f"{folder.name}_backup"))
    (folder / DESCRIPTION).write_text("{")
    second = recorder.begin().result()
    assert recorder.end().result().state is State.COMPLETE
    assert second.name == "episode_000001"


def test_an_episode_begins_although_a_start_before_it_failed(make: Make) -> None:
    recorder = make()
    left = recorder.begin().result().parent / NEW
    recorder.end().result()
    left.mkdir()
    (left / CONTRACT).write_text("half of it")
    assert recorder.begin().result().name == "episode_000001"


def test_the_bundle_that_acts_is_known_before_the_episode_ends(make: Make) -> None:
    recorder = make()
    recorder.add_topic(make_topic_spec(CHUNK, "vla_ros_interfaces/msg/ActionChunk"))
    folder = recorder.begin().result()
    recorder.receive(chunk(time.time_ns(), bundle="abc"))
    wait_for(lambda: read_episode(folder).bundle == "abc", "the bundle to be written down")


def test_closing_does_not_wait_for_a_thread_that_has_ended(make: Make) -> None:
    ended = threading.Event()
    recorder = make(on_error=lambda error: ended.set())
    now_ns = time.time_ns()
    recorder._inbox.put(Arrival("/never/added", b"", now_ns, now_ns, 1))
    assert ended.wait(15.0)
    recorder.close()
