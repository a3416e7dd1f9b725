"""Recordings to a LeRobotDataset v3, by our own writer."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import UserError
from vla_ros.data.episode import CONTRACT, Outcome
from vla_ros.data.frames import Frame, open_episode
from vla_ros.data.lerobot.conversion import WORK, ConversionReport, convert
from vla_ros.data.lerobot.features import COMMAND, DatasetFeatures, to_millimetres
from vla_ros.data.lerobot.reader import LeRobotReader
from vla_ros.data.lerobot.staging import Conversion
from vla_ros.testing.small_recordings import SmallEpisode, write_small_recording
from vla_ros.testing.waiting import wait_for

EPISODES = (
    SmallEpisode(seed=0, length_s=1.0, actors=((0.0, "policy"), (0.6, "operator"))),
    SmallEpisode(seed=1, length_s=0.8, instruction="open the drawer", outcome=Outcome.FAILURE),
    SmallEpisode(seed=2, length_s=1.2, actors=((0.0, "operator"),)),
)


def features(contract: RobotContract, **values: Any) -> DatasetFeatures:
    return DatasetFeatures(contract=contract, **values)


def run(recording: Path, output: Path, conversion: Conversion, **values: Any) -> ConversionReport:
    """Convert with our own writer, in this process."""
    return convert([recording], output, conversion, writer="own", workers=1, **values)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings") / "small"
    write_small_recording(folder, EPISODES)
    return folder


@pytest.fixture(scope="module")
def contract(recording: Path) -> RobotContract:
    return load_contract(recording / "episode_000000" / CONTRACT)


@pytest.fixture(scope="module")
def dataset(
    recording: Path, contract: RobotContract, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    output = tmp_path_factory.mktemp("datasets") / "video"
    run(recording, output, Conversion(features=features(contract), codec="h264"))
    return output


def whole_frames(folder: Path, contract: RobotContract) -> list[Frame]:
    """Return the frames of an episode that have every feature."""
    found = open_episode(folder, contract).frames()
    return [frame for frame in found if not features(contract).missing(frame)]


def test_rows_are_the_frames_of_the_recording(
    recording: Path, contract: RobotContract, dataset: Path
) -> None:
    reader = LeRobotReader(dataset)
    index = 0
    for number, written in enumerate(EPISODES):
        frames = whole_frames(recording / f"episode_{number:06d}", contract)
        rows = list(reader.rows(number))
        assert len(rows) == len(frames) == reader.episode(number)["length"]
        for at, (row, frame) in enumerate(zip(rows, frames, strict=True)):
            seen = frame.observation
            np.testing.assert_array_equal(row["observation.state"], seen.state)
            np.testing.assert_array_equal(row["observation.imu"], seen.imu)
            np.testing.assert_array_equal(row[COMMAND], seen.command)
            np.testing.assert_array_equal(row["action"], frame.action.astype(np.float32))
            assert row["stamp_ns"] == [frame.stamp_ns]
            assert row["task"] == written.instruction
            assert row["timestamp"] == [np.float32(at / 30)]
            counters = [row[name][0] for name in ("frame_index", "episode_index", "index")]
            assert counters == [at, number, index]
            index += 1
    assert reader.info["total_frames"] == index
    assert reader.info["total_episodes"] == 3
    assert reader.tasks == ["lift the red cube", "open the drawer"]


def test_depth_is_kept_to_the_millimetre(
    recording: Path, contract: RobotContract, dataset: Path
) -> None:
    frames = whole_frames(recording / "episode_000000", contract)
    rows = LeRobotReader(dataset).rows(0)
    for row, frame in zip(rows, frames, strict=True):
        for camera in ("front", "wrist"):
            far = np.abs(row[f"observation.depth.{camera}"] - frame.observation.depths[camera])
            assert far.max() <= 0.0005001


def test_depth_without_loss_and_images_as_png_are_those_of_the_frames(
    recording: Path, contract: RobotContract, tmp_path: Path
) -> None:
    kept = features(contract, depth="float32", storage="png")
    run(recording, tmp_path / "png", Conversion(features=kept))
    for number in range(3):
        frames = whole_frames(recording / f"episode_{number:06d}", contract)
        rows = LeRobotReader(tmp_path / "png").rows(number)
        for row, frame in zip(rows, frames, strict=True):
            for camera in ("front", "wrist"):
                seen = frame.observation
                image = row[f"observation.images.{camera}"]
                np.testing.assert_array_equal(image, seen.images[camera])
                np.testing.assert_array_equal(
                    row[f"observation.depth.{camera}"], seen.depths[camera]
                )
    assert not (tmp_path / "png" / "videos").exists()


def test_videos_have_each_frame_at_its_place_in_one_file(
    recording: Path, contract: RobotContract, dataset: Path
) -> None:
    reader = LeRobotReader(dataset)
    for number in range(3):
        frames = whole_frames(recording / f"episode_{number:06d}", contract)
        seen = np.stack([frame.observation.images["wrist"] for frame in frames]).astype(float)
        for at, row in enumerate(reader.rows(number)):
            far = np.abs(seen - row["observation.images.wrist"]).mean(axis=(1, 2, 3))
            assert far.argmin() == at, "every picture is another"
            assert far[at] < 0.5 * np.delete(far, at).min()
    about = [reader.episode(number) for number in range(3)]
    key = "videos/observation.images.wrist"
    assert [row[f"{key}/file_index"] for row in about] == [0, 0, 0]
    for before, after in itertools.pairwise(about):
        assert after[f"{key}/from_timestamp"] == before[f"{key}/to_timestamp"]


def test_who_acted_and_what_came_of_it_are_features(dataset: Path) -> None:
    reader = LeRobotReader(dataset)
    corrected, failed, shown = (list(reader.rows(number)) for number in range(3))
    actors = [int(row["actor"][0]) for row in corrected]
    assert set(actors) == {1, 2}
    assert [bool(row["intervention"][0]) for row in corrected] == [a == 2 for a in actors]
    assert not any(row["intervention"][0] for row in shown), "nobody was there to take over from"
    for rows, success in ((corrected, True), (failed, False), (shown, True)):
        assert [bool(row["next.done"][0]) for row in rows] == [False] * (len(rows) - 1) + [True]
        assert bool(rows[-1]["next.success"][0]) is success
        assert not any(row["next.success"][0] for row in rows[:-1])
    assert [reader.episode(n)["vla_ros/outcome"] for n in range(3)] == [
        "success", "failure", "success",
    ]  # fmt: skip


def test_statistics_are_those_of_all_rows(dataset: Path) -> None:
    reader = LeRobotReader(dataset)
    rows = [row for number in range(3) for row in reader.rows(number)]
    said = json.loads((dataset / "meta/stats.json").read_text("utf-8"))
    for name in ("observation.state", "action", "timestamp", "observation.imu"):
        values = np.concatenate([row[name].reshape(-1, row[name].shape[-1]) for row in rows])
        np.testing.assert_allclose(said[name]["mean"], values.mean(axis=0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(said[name]["std"], values.std(axis=0), rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(said[name]["min"], values.min(axis=0), rtol=1e-6)
        np.testing.assert_allclose(said[name]["max"], values.max(axis=0), rtol=1e-6)
        assert said[name]["count"] == [len(rows)]
    colours = np.array(said["observation.images.front"]["mean"])
    assert colours.shape == (3, 1, 1)
    seen = np.stack([row["observation.images.front"] for row in rows]) / 255.0
    np.testing.assert_allclose(colours[:, 0, 0], seen.mean(axis=(0, 1, 2)), atol=0.02)


def test_the_dataset_embeds_the_contract(dataset: Path, contract: RobotContract) -> None:
    embedded = LeRobotReader(dataset).contract
    assert embedded is not None
    assert embedded.sha256 == contract.sha256


def test_small_files_are_continued_in_others(
    recording: Path, contract: RobotContract, dataset: Path, tmp_path: Path
) -> None:
    from vla_ros.data.lerobot.assembly import assemble
    from vla_ros.data.lerobot.staging import stage_episode

    conversion = Conversion(features=features(contract), codec="h264")
    folders = [recording / f"episode_{number:06d}" for number in range(3)]
    staged = [
        (tmp_path / stage_episode(folder, conversion, tmp_path)["staged"], str(folder))
        for folder in folders
    ]
    assemble(staged, conversion.features, tmp_path / "many", {}, file_mb=(0.01, 0.001))
    many, one = LeRobotReader(tmp_path / "many"), LeRobotReader(dataset)
    assert len(list((tmp_path / "many/data/chunk-000").iterdir())) == 3
    assert len(list((tmp_path / "many/videos/observation.images.front/chunk-000").iterdir())) == 3
    for number in range(3):
        for ours, theirs in zip(many.rows(number), one.rows(number), strict=True):
            assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_features_can_be_left_out(
    recording: Path, contract: RobotContract, tmp_path: Path
) -> None:
    without = ("observation.depth.wrist", "observation.imu", COMMAND)
    kept = features(contract, without=without)
    run(recording, tmp_path / "less", Conversion(features=kept, codec="h264"))
    assert not set(without) & set(LeRobotReader(tmp_path / "less").features)
    with pytest.raises(UserError, match=r"--without observation\.state: expected one of"):
        features(contract, without=("observation.state",))


def test_a_recording_behind_a_url_gives_the_same_dataset(
    recording: Path, contract: RobotContract, dataset: Path, tmp_path: Path
) -> None:
    conversion = Conversion(features=features(contract), codec="h264")
    convert([recording.as_uri()], tmp_path / "url", conversion, writer="own", workers=1)
    files = {path.relative_to(dataset) for path in dataset.rglob("*") if path.is_file()}
    for file in files - {Path("meta/vla_ros.json")}:  # which says where it comes from
        assert (tmp_path / "url" / file).read_bytes() == (dataset / file).read_bytes(), file


def test_episodes_of_which_the_same_is_known_are_not_confused(
    contract: RobotContract, tmp_path: Path
) -> None:
    for seed in range(2):
        write_small_recording(tmp_path / str(seed), [SmallEpisode(seed=seed, length_s=0.5)])
    conversion = Conversion(features=features(contract), codec="h264")
    both = [tmp_path / "0", tmp_path / "1"]
    convert(both, tmp_path / "both", conversion, writer="own", workers=1)
    reader = LeRobotReader(tmp_path / "both")
    first, second = (next(iter(reader.rows(number)))["observation.state"] for number in range(2))
    assert not np.array_equal(first, second)
    assert [row["vla_ros/recording"] for row in reader.episodes] == ["0", "1"]


KILLED = """
import sys
from pathlib import Path
from vla_ros.contract import load_contract
from vla_ros.data.lerobot.conversion import convert
from vla_ros.data.lerobot.features import DatasetFeatures
from vla_ros.data.lerobot.staging import Conversion

recording, output = map(Path, sys.argv[1:])
features = DatasetFeatures(contract=load_contract(recording / "episode_000000/contract.yaml"))
convert([recording], output, Conversion(features=features, codec="h264"), writer="own", workers=1)
"""


def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_files(
    recording: Path, contract: RobotContract, dataset: Path, tmp_path: Path
) -> None:
    output = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(recording), str(output)])
    journal = output / WORK / "journal.jsonl"
    try:
        wait_for(lambda: journal.exists() and journal.read_text().count("\n") >= 2, "an episode")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (output / "meta").exists(), "it was killed too late for this test"
    report = run(recording, output, Conversion(features=features(contract), codec="h264"))
    assert 1 <= report.resumed < 3
    assert report.episodes == 3
    files = {path.relative_to(dataset) for path in dataset.rglob("*") if path.is_file()}
    assert {path.relative_to(output) for path in output.rglob("*") if path.is_file()} == files
    for file in files:
        assert (output / file).read_bytes() == (dataset / file).read_bytes(), file


def test_a_run_that_was_stopped_while_the_files_were_moved_begins_the_move_again(
    recording: Path, contract: RobotContract, dataset: Path, tmp_path: Path
) -> None:
    output = tmp_path / "moving"
    (output / WORK).mkdir(parents=True)
    (output / "data").mkdir()
    (output / "data" / "half").write_text("of an earlier run")
    run(recording, output, Conversion(features=features(contract), codec="h264"))
    assert not (output / "data" / "half").exists()
    assert LeRobotReader(output).info == LeRobotReader(dataset).info


def test_a_dataset_that_is_there_is_left_alone(
    recording: Path, contract: RobotContract, dataset: Path
) -> None:
    same = Conversion(features=features(contract), codec="h264")
    before = (dataset / "meta/info.json").stat().st_mtime_ns
    assert run(recording, dataset, same).finished_before
    with pytest.raises(UserError, match="is a dataset already, of other episodes or settings"):
        run(recording, dataset, replace(same, codec="libsvtav1"))
    assert (dataset / "meta/info.json").stat().st_mtime_ns == before


def test_a_folder_with_something_else_in_it_is_not_touched(
    recording: Path, contract: RobotContract, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="is not empty"):
        run(recording, tmp_path, Conversion(features=features(contract)))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_far_depth_and_holes_are_zero_in_millimetres() -> None:
    metres = np.array([[0.0, np.nan, np.inf, 0.0004, 0.0006, 65.535, 65.6, -1.0]], np.float32)
    assert to_millimetres(metres).tolist() == [[0, 0, 0, 0, 1, 65535, 0, 0]]
