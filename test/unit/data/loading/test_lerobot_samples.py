"""Samples straight from a LeRobotDataset are its rows, in any order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vla_ros.contract import load_contract
from vla_ros.core.errors import UserError
from vla_ros.data.episode import CONTRACT
from vla_ros.data.lerobot.conversion import convert
from vla_ros.data.lerobot.features import DatasetFeatures
from vla_ros.data.lerobot.reader import LeRobotReader
from vla_ros.data.lerobot.staging import Conversion
from vla_ros.data.loading.batches import load_batches
from vla_ros.data.loading.lerobot import LeRobotSamples, is_dataset
from vla_ros.data.loading.sample import Asked
from vla_ros.testing.small_recordings import SmallEpisode, write_small_recording


@pytest.fixture(scope="module", params=["video", "png"])
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes; in the last an operator takes over."""
    folder = tmp_path_factory.mktemp(request.param)
    handed = ((0.0, "policy"), (0.5, "operator"))
    first, *_ = write_small_recording(
        folder / "recording",
        [
            SmallEpisode(seed=0),
            SmallEpisode(seed=1, length_s=0.7, instruction="open the drawer"),
            SmallEpisode(seed=2, actors=handed),
        ],
    )
    features = DatasetFeatures(
        contract=load_contract(first / CONTRACT), storage=request.param, depth="mm"
    )
    conversion = Conversion(features=features, codec="h264")
    convert([folder / "recording"], folder / "dataset", conversion, writer="own")
    return folder / "dataset"


def test_every_sample_equals_the_row_of_the_dataset(dataset: Path) -> None:
    source, reader = LeRobotSamples(dataset, Asked(horizon=4)), LeRobotReader(dataset)
    names = list(source.features)
    assert len(names) == 5, "two cameras, their depth, the IMU"
    for episode in range(3):
        rows = list(reader.rows(episode))
        assert source.lengths[episode] == len(rows)
        for at in np.random.default_rng(0).permutation(len(rows)).tolist():
            (sample,) = source.read(episode, at, at + 1)
            for name in (*names, "observation.state", "observation.command"):
                np.testing.assert_array_equal(sample[name], rows[at][name], err_msg=name)
            assert sample["task"] == rows[at]["task"]
            assert sample["stamp_ns"] == rows[at]["stamp_ns"][0]
            for row in range(4):
                later = min(at + row, len(rows) - 1)
                np.testing.assert_array_equal(sample["action"][row], rows[later]["action"])
                assert sample["action_is_pad"][row] == (at + row >= len(rows))


def test_rows_of_a_chunk_may_lie_several_frames_apart_or_between_frames(dataset: Path) -> None:
    every = LeRobotSamples(dataset, Asked(horizon=9)).read(0, 4, 5)[0]["action"]
    third = LeRobotSamples(dataset, Asked(horizon=3, step_s=0.1)).read(0, 4, 5)[0]["action"]
    np.testing.assert_array_equal(third, every[2::3])
    between = LeRobotSamples(dataset, Asked(horizon=4, step_s=0.05)).read(0, 4, 5)[0]["action"]
    np.testing.assert_allclose(between[0], (every[0] + every[1]) / 2, rtol=0, atol=1e-6)
    np.testing.assert_allclose(between[1], every[2], rtol=0, atol=1e-6)


def test_corrections_count_their_weight(dataset: Path) -> None:
    source = LeRobotSamples(dataset, Asked(intervention_weight=2.0))
    actors = source.column("actor", 2)
    assert set(actors.tolist()) == {1, 2}
    np.testing.assert_array_equal(source.weights[2], np.where(actors == 2, 2.0, 0.0))
    assert (source.weights[0] == 1.0).all()


def test_batches_come_from_worker_processes_after_this_one_has_read(dataset: Path) -> None:
    pytest.importorskip("torch")
    source = LeRobotSamples(dataset, Asked(horizon=4))
    whole = source.read(0, 0, 3)  # opens files, whose place a forked process would share
    stamps = []
    for batch in load_batches(source, 8, workers=2):
        stamps += batch["stamp_ns"].tolist()
    assert len(set(stamps)) == len(stamps) == sum(source.lengths)
    assert whole[0]["stamp_ns"] in stamps


def test_a_folder_that_is_no_dataset_or_of_another_version_is_named(
    dataset: Path, tmp_path: Path
) -> None:
    assert is_dataset(dataset)
    assert not is_dataset(tmp_path)
    with pytest.raises(UserError, match=f"{tmp_path}: is no LeRobotDataset"):
        LeRobotSamples(tmp_path)
    (tmp_path / "meta").mkdir()
    info = json.loads((dataset / "meta/info.json").read_text()) | {"codebase_version": "v2.1"}
    (tmp_path / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match=r"v2\.1"):
        LeRobotSamples(tmp_path)
