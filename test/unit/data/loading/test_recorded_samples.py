"""Samples straight from recordings are the frames that the policy node would have seen."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vla_ros.core.errors import UserError
from vla_ros.data.episode import message_files
from vla_ros.data.frames import open_episode
from vla_ros.data.loading.episode_samples import samples_of
from vla_ros.data.loading.positions import MessageReader, find_messages
from vla_ros.data.loading.recordings import RecordedSamples
from vla_ros.data.loading.sample import Asked, Sample, sample_weights
from vla_ros.data.message_definitions import message_definition
from vla_ros.data.message_file import MessageFile, TopicSpec, read_messages
from vla_ros.testing.small_recordings import SmallEpisode, write_small_recording

FRONT = "/camera/front/image_raw"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes; in the last an operator takes over."""
    folder = tmp_path_factory.mktemp("recording")
    handed = ((0.0, "policy"), (0.5, "operator"))
    write_small_recording(
        folder,
        [
            SmallEpisode(seed=0),
            SmallEpisode(seed=1, length_s=0.7, instruction="open the drawer"),
            SmallEpisode(seed=2, actors=handed),
        ],
    )
    return folder


def test_every_sample_equals_the_frame_that_the_policy_node_would_have_seen(
    recording: Path,
) -> None:
    source = RecordedSamples([recording], Asked(horizon=5, step_s=0.05))
    for episode, folder in enumerate(source.folders):
        recorded = open_episode(folder)
        frames = list(recorded.frames())
        assert source.lengths[episode] == len(frames) > 10
        for at in np.random.default_rng(0).permutation(len(frames)).tolist():  # in any order
            (sample,) = source.read(episode, at, at + 1)
            frame = frames[at]
            _require_equal(sample, frame.observation)
            assert sample["stamp_ns"] == frame.stamp_ns
            assert sample["task"] == frame.instruction
            assert sample["actor"] == {"policy": 1, "operator": 2}[frame.actor]
            chunk = recorded.targets(frame.stamp_ns, 5, 0.05)
            np.testing.assert_array_equal(sample["action"], chunk.astype(np.float32))


def _require_equal(sample: Sample, observation: Any) -> None:
    for camera in observation.images:
        image = sample[f"observation.images.{camera}"]
        np.testing.assert_array_equal(image, observation.images[camera])
    for camera in observation.depths:
        depth = sample[f"observation.depth.{camera}"]
        np.testing.assert_array_equal(depth, observation.depths[camera])
    np.testing.assert_array_equal(sample["observation.state"], observation.state)
    assert ("observation.imu" in sample) == (observation.imu is not None)
    if observation.imu is not None:
        np.testing.assert_array_equal(sample["observation.imu"], observation.imu)
    if observation.command is not None:
        np.testing.assert_array_equal(sample["observation.command"], observation.command)


def test_an_episode_in_several_files_gives_the_same_samples(tmp_path: Path) -> None:
    (folder,) = write_small_recording(tmp_path / "whole", [SmallEpisode()])
    parts = tmp_path / "parts" / folder.name
    shutil.copytree(folder, parts)
    (path,) = message_files(parts)
    messages = list(read_messages(path))
    path.unlink()
    for number, some in enumerate((messages[:200], messages[200:300], messages[300:])):
        with MessageFile(parts / f"{folder.name}_{number}.mcap") as file:
            for message in some:
                if message.topic not in file:
                    text = message_definition(message.type)
                    spec = TopicSpec(name=message.topic, type=message.type, definition=text)
                    file.add_topic(spec)
                file.add(message.topic, message.data, message.log_ns, message.publish_ns)
    one, other = RecordedSamples([folder]), RecordedSamples([parts])
    assert one.lengths == other.lengths
    for sample, same in zip(one.read(0, 0, 20), other.read(0, 0, 20), strict=True):
        for name, value in sample.items():
            np.testing.assert_array_equal(value, same[name])


def test_what_is_not_asked_for_is_not_decoded(recording: Path) -> None:
    source = RecordedSamples([recording], Asked(cameras=("wrist",), depth=False, imu=False))
    assert list(source.features) == ["observation.images.wrist"]
    (sample,) = source.read(0, 12, 13)
    assert [name for name in sample if "images" in name or "depth" in name or "imu" in name] == [
        "observation.images.wrist"
    ]


def test_a_chunk_says_where_the_episode_was_over(recording: Path) -> None:
    source = RecordedSamples([recording], Asked(horizon=8))
    length = source.lengths[0]
    first, last = source.read(0, 0, 1)[0], source.read(0, length - 1, length)[0]
    assert not first["action_is_pad"].any()
    padded = last["action_is_pad"]
    assert padded[-1]
    assert (np.diff(padded.astype(int)) >= 0).all(), "once it is over, it stays so"
    row = last["action"][padded]
    np.testing.assert_array_equal(row, np.broadcast_to(row[0], row.shape))


def test_a_correction_counts_its_weight_and_what_the_policy_did_there_nothing(
    recording: Path,
) -> None:
    source = RecordedSamples([recording], Asked(intervention_weight=3.0))
    assert (source.weights[0] == 1.0).all()  # nobody took over: it is a demonstration
    actors = source.known(2).actor
    assert set(actors.tolist()) == {1, 2}
    np.testing.assert_array_equal(source.weights[2], np.where(actors == 2, 3.0, 0.0))
    assert source.read(2, 25, 26)[0]["weight"] == source.weights[2][25]


@pytest.mark.parametrize("actor", [0, 1, 2])
def test_an_episode_of_one_actor_is_a_demonstration(actor: int) -> None:
    assert (sample_weights(np.full(4, actor), 5.0) == 1.0).all()


def test_what_is_known_of_an_episode_is_kept_until_the_episode_changes(tmp_path: Path) -> None:
    (folder,) = write_small_recording(tmp_path / "recording", [SmallEpisode()])
    cache = tmp_path / "cache"
    found = samples_of(folder, cache)
    (kept,) = cache.glob("*.npz")
    written = kept.stat().st_mtime_ns
    again = samples_of(folder, cache)
    assert kept.stat().st_mtime_ns == written
    for name in ("stamps", "state", "command", "imu", "message", "places", "commanded"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert (again.tasks, again.cameras, again.left_out) == (
        found.tasks,
        found.cameras,
        found.left_out,
    )
    (shorter,) = write_small_recording(tmp_path / "other", [SmallEpisode(length_s=0.5)])
    shutil.copy(*message_files(shorter), *message_files(folder))
    assert len(samples_of(folder, cache)) < len(found)
    kept.write_bytes(b"torn")  # a cache that is damaged is made anew
    assert len(samples_of(folder, cache)) < len(found)


def test_a_file_that_changed_after_it_was_indexed_is_named(tmp_path: Path) -> None:
    (folder,) = write_small_recording(tmp_path, [SmallEpisode()])
    source = RecordedSamples([tmp_path])
    (path,) = message_files(folder)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=rf"{path}: has changed since it was indexed"):
        source.read(0, source.lengths[0] - 1, source.lengths[0])


def test_an_episode_without_frames_is_refused_or_skipped_with_its_reason(tmp_path: Path) -> None:
    def silent(topic: str, message: Any, now_ns: int) -> tuple[Any, int] | None:
        return None if topic == FRONT else (message, now_ns)

    _, bad = write_small_recording(tmp_path, [SmallEpisode(), SmallEpisode(spoil=silent)])
    with pytest.raises(UserError, match=f"{bad}: has no frame"):
        RecordedSamples([tmp_path])
    skipped: list[tuple[Path, str]] = []
    source = RecordedSamples([tmp_path], on_skip=lambda *told: skipped.append(told))
    assert len(source.lengths) == 1
    assert [folder for folder, _ in skipped] == [bad]


@pytest.mark.parametrize("cut", [0, 1, 1000, 150_000])
def test_positions_are_those_of_the_messages_also_in_a_file_that_was_cut_off(
    tmp_path: Path, cut: int
) -> None:
    (folder,) = write_small_recording(tmp_path, [SmallEpisode(length_s=16.0)])
    (path,) = message_files(folder)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - cut])
    messages = list(read_messages(path))
    found = find_messages(path)
    assert len(set(found.chunk.tolist())) >= 2 - (cut > 100_000)
    assert len(found) == len(messages) > 1000
    reader = MessageReader(path, kept_bytes=1)
    for at in np.random.default_rng(0).permutation(len(found))[:60].tolist():
        place = (found.chunk[at], found.offset[at], found.length[at])
        assert reader.read(*map(int, place)) == messages[at].data
        assert found.topics[found.topic[at]] == messages[at].topic


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.mcap"
    path.write_text("milk, eggs")
    with pytest.raises(UserError, match=f"{path}: is no MCAP file"):
        find_messages(path)


@pytest.mark.parametrize(
    "values", [{"horizon": 0}, {"step_s": 0.0}, {"intervention_weight": float("nan")}]
)
def test_what_makes_no_sense_to_ask_for_is_named(values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(values))):
        Asked(**values)
