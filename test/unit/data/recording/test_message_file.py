from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from vla_ros.core.errors import UserError
from vla_ros.data.bag_metadata import read_summary, write_bag_metadata
from vla_ros.data.message_chunk import Compression
from vla_ros.data.message_definitions import make_topic_spec
from vla_ros.data.message_file import MessageFile, read_messages
from vla_ros.data.recording.completion import complete_file
from vla_ros.testing.recorded_messages import BEGIN_NS, IMAGE, image, pixels, topics

COUNT = 40


def write_images(path: Path, compression: Compression = Compression.ZSTD) -> Path:
    """Write images in four chunks."""
    with MessageFile(path, compression=compression) as file:
        for spec in topics():
            file.add_topic(spec)
        for number in range(COUNT):
            arrival = image(number)
            file.add(
                arrival.topic, arrival.data, arrival.log_ns, arrival.publish_ns, arrival.sequence
            )
            if number % 10 == 9:
                file.flush()
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_images(tmp_path / "episode_000000_0.mcap")


@pytest.mark.parametrize("compression", list(Compression))
def test_the_reader_of_mcap_reads_what_was_written(
    tmp_path: Path, compression: Compression
) -> None:
    path = write_images(tmp_path / "a.mcap", compression)
    with path.open("rb") as opened:
        found = list(make_reader(opened, validate_crcs=True).iter_messages())
    assert [message.data for _, _, message in found] == [image(n).data for n in range(COUNT)]
    assert [message.log_time for _, _, message in found] == [image(n).log_ns for n in range(COUNT)]
    assert [message.sequence for _, _, message in found] == list(range(COUNT))
    assert {channel.topic for _, channel, _ in found} == {IMAGE}


@pytest.mark.parametrize("compression", list(Compression))
def test_rosbags_reads_counts_stamps_and_pixels(tmp_path: Path, compression: Compression) -> None:
    write_images(tmp_path / "episode_000000_0.mcap", compression)
    write_bag_metadata(tmp_path)
    with AnyReader([tmp_path]) as reader:
        assert reader.message_count == COUNT
        for number, (connection, log_ns, data) in enumerate(reader.messages()):
            message: Any = reader.deserialize(data, connection.msgtype)
            assert log_ns == BEGIN_NS + number * 10_000_000
            assert message.header.stamp.nanosec == number * 10_000_000
            np.testing.assert_array_equal(message.data.reshape(48, 64, 3), pixels(number))
    assert number == COUNT - 1


def test_messages_that_come_out_of_order_are_found_by_time(tmp_path: Path) -> None:
    with MessageFile(tmp_path / "a.mcap") as file:
        file.add_topic(topics()[0])
        for number in (3, 1, 2):
            file.add(IMAGE, image(number).data, number * 1000, number * 1000)
    with (tmp_path / "a.mcap").open("rb") as opened:
        found = [m.log_time for _, _, m in make_reader(opened).iter_messages()]
    assert found == [1000, 2000, 3000]
    assert (read_summary(tmp_path / "a.mcap").start_ns, found[-1]) == (1000, 3000)


def test_a_file_is_never_written_over(file: Path) -> None:
    with pytest.raises(FileExistsError):
        MessageFile(file)


def test_a_file_that_was_cut_anywhere_keeps_its_whole_chunks_and_gets_an_index(
    tmp_path: Path, file: Path
) -> None:
    whole = file.read_bytes()
    chunks = read_summary(file).chunks
    rng = random.Random(0)
    cut = tmp_path / "cut.mcap"
    for length in [*range(0, 40, 3), *(rng.randrange(len(whole)) for _ in range(60))]:
        cut.write_bytes(whole[:length])
        done = complete_file(cut)
        kept = sum(10 for c in chunks if c.chunk_start_offset + c.chunk_length <= length)
        assert done.summary.messages == kept, f"cut at byte {length}"
        with cut.open("rb") as opened:
            found = list(make_reader(opened, validate_crcs=True).iter_messages())
        assert [message.data for _, _, message in found] == [image(n).data for n in range(kept)]
        assert read_summary(cut).counts_by_topic() == done.summary.counts_by_topic()
        assert complete_file(cut).was_whole


def test_bytes_that_a_disk_never_got_are_taken_off_with_the_chunk_that_they_spoil(
    tmp_path: Path, file: Path
) -> None:
    last = read_summary(file).chunks[-1]
    data = file.read_bytes()[: last.chunk_start_offset + last.chunk_length]
    spoilt = tmp_path / "spoilt.mcap"
    spoilt.write_bytes(data[:-2000] + bytes(2000))
    assert complete_file(spoilt).summary.messages == COUNT - 10
    spoilt.write_bytes(data + bytes(100_000))
    done = complete_file(spoilt)
    assert (done.summary.messages, done.removed) == (COUNT, 100_000)


def test_a_whole_file_is_left_as_it_is(file: Path) -> None:
    before = file.read_bytes()
    assert complete_file(file).was_whole
    assert file.read_bytes() == before


def test_what_is_no_mcap_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(b"something else altogether")
    with pytest.raises(UserError, match="is no MCAP file"):
        complete_file(path)
    assert path.read_bytes() == b"something else altogether"


def test_a_file_that_was_cut_off_says_how_to_mend_it(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match="vla_ros data recover"):
        read_summary(file)


def test_what_is_whole_in_a_file_that_was_cut_off_can_be_read(file: Path) -> None:
    second = read_summary(file).chunks[1]
    file.write_bytes(file.read_bytes()[: second.chunk_start_offset + second.chunk_length // 2])
    assert [m.sequence for m in read_messages(file)] == list(range(10))


def test_types_of_installed_packages_are_recorded_with_those_that_they_contain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "share" / "my_msgs" / "msg"
    folder.mkdir(parents=True)
    (folder / "Grasp.msg").write_text("std_msgs/Header header\nmy_msgs/Width[] widths\n")
    (folder / "Width.msg").write_text("float64 value\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    spec = make_topic_spec("/grasp", "my_msgs/msg/Grasp")
    assert "MSG: my_msgs/Width" in spec.definition
    assert spec.hash.startswith("RIHS01_")


def test_a_type_that_is_not_installed_is_named() -> None:
    with pytest.raises(
        UserError, match=r"foreign_msgs/msg/Thing.*share/foreign_msgs/msg/Thing.msg"
    ):
        make_topic_spec("/thing", "foreign_msgs/msg/Thing")
