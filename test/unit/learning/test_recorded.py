"""Training from recorded episodes: seen and told as at run time, and weighed by who acted."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vla_ros.contract import find_contract, load_contract
from vla_ros.core.errors import UserError
from vla_ros.data.frames import open_episode
from vla_ros.data.lerobot.conversion import convert
from vla_ros.data.lerobot.features import DatasetFeatures
from vla_ros.data.lerobot.staging import Conversion
from vla_ros.engine.joint_history import JointHistory
from vla_ros.learning.recipes import tabletop_small
from vla_ros.learning.recorded import RecordedBatch, Recordings
from vla_ros.learning.run_config import RunChoices
from vla_ros.learning.training import Trainer
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.testing.small_recordings import (
    EPOCH_NS,
    SmallEpisode,
    write_small_contract,
    write_small_recording,
)

HANDED = ((0.0, "policy"), (0.6, "operator"))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes with images of the policy's size; an operator takes over in the second."""
    folder = tmp_path_factory.mktemp("recording")
    write_small_recording(
        folder,
        [SmallEpisode(seed=0), SmallEpisode(seed=1, instruction="lift the ball", actors=HANDED)],
        find_contract("tabletop_sim"),
    )
    return folder


def configured(recording: Path, output: Path, language: Path, **changes: object) -> TrainingConfig:
    """Return a configuration that trains from recordings alone."""
    values: dict[str, object] = {
        "data": (), "recordings": (recording,), "output": output, "language": language,
        "images": 0, "episodes": 0, "recorded": 6, "sentences": 100, "texts": 16, "steps": 3,
        "device": "cpu",
    }  # fmt: skip
    return TrainingConfig(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def config(recording: Path, language_files: Path, tmp_path: Path) -> TrainingConfig:
    return configured(recording, tmp_path / "run", language_files)


def first_batch(config: TrainingConfig, size: int = 40) -> RecordedBatch:
    """Return the first batch of samples."""
    return next(Recordings(config, tabletop_small()).batches(size, (0,), CPU))


def test_a_recorded_state_is_told_as_the_running_policy_would_be(config: TrainingConfig) -> None:
    recordings = Recordings(config, tabletop_small())
    history = JointHistory(6)
    told = [
        history.read(frame.observation)[0]
        for frame in open_episode(config.recordings[0] / "episode_000000").frames()
    ]
    batch = next(recordings.batches(40, (0,), CPU))
    known = np.array(told)
    found = 0
    for state in batch.now.state.numpy():
        found += bool((state == known).all(1).any())
    assert found >= 10, "those of the other episode are not among them"


def test_a_batch_has_images_words_and_the_chunk_in_the_policys_sizes(
    config: TrainingConfig,
) -> None:
    batch, policy = first_batch(config), tabletop_small()
    assert batch.now.rgb[0].dtype == torch.uint8
    assert tuple(batch.now.rgb[1].shape) == (40, 128, 128, 3)
    assert tuple(batch.now.depth[0].shape) == (40, 128, 128)
    assert tuple(batch.now.imu.shape) == (40, policy.imu_window, 6)
    assert tuple(batch.chunk.shape) == (40, policy.horizon, 6)
    assert (batch.now.present[:, :2].sum(1) >= 1).all(), "it never sees nothing at all"
    assert len(torch.unique(batch.beginning.rgb[0].flatten(1).float(), dim=0)) == 2


def test_corrections_weigh_and_what_the_policy_did_before_them_is_not_drawn(
    config: TrainingConfig,
) -> None:
    batch = first_batch(replace(config, intervention_weight=4.0))
    assert set(batch.weight.tolist()) == {1.0, 4.0}
    only = first_batch(replace(config, intervention_weight=0.0))
    assert set(only.weight.tolist()) == {1.0}


def test_recordings_and_a_dataset_of_them_train_together(
    config: TrainingConfig, tmp_path: Path
) -> None:
    features = DatasetFeatures(contract=load_contract("tabletop_sim"))
    dataset = tmp_path / "dataset"
    conversion = Conversion(features=features, codec="h264")
    convert([config.recordings[0]], dataset, conversion, writer="own")
    both = replace(config, recordings=(config.recordings[0], dataset))
    recordings = Recordings(both, tabletop_small())
    assert recordings.samples > 1.8 * Recordings(config, tabletop_small()).samples
    next(recordings.batches(8, (0,), CPU))


def test_recordings_of_another_robot_are_refused(config: TrainingConfig, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_small_contract(other / "small.yaml")
    write_small_recording(other, [SmallEpisode()], other / "small.yaml")
    with pytest.raises(UserError, match=r"other: was recorded with another robot.*32x24 px"):
        Recordings(replace(config, recordings=(other,)), tabletop_small())


def test_recordings_in_which_nothing_counts_are_refused(
    config: TrainingConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "recording"
    corrected = SmallEpisode(actors=((0.0, "policy"), (0.6, "operator")))
    write_small_recording(folder, [corrected], find_contract("tabletop_sim"))
    nothing = replace(config, recordings=(folder,), intervention_weight=0.0)
    with pytest.raises(UserError, match="hold nothing to imitate"):
        Recordings(nothing, tabletop_small())


def test_recordings_alone_need_no_demonstrations(tmp_path: Path, language_files: Path) -> None:
    chosen = RunChoices(training={"recordings": (tmp_path,), "output": tmp_path / "run"})
    run = chosen.run(lambda given, output: language_files)
    assert (run.training.images, run.training.episodes, run.training.data) == (0, 0, ())
    with pytest.raises(UserError, match="data: missing"):
        RunChoices(training={"output": tmp_path}).run(lambda given, output: language_files)
    with pytest.raises(UserError, match="there is no data to draw them from"):
        configured(tmp_path, tmp_path, language_files, images=4)


def _rising(topic: str, message: Any, now_ns: int) -> tuple[Any, int]:
    """Let commands rise by 0.2 rad a second: what anybody can learn."""
    if topic.endswith("/commands"):
        message.data[:] = 0.2e-9 * (now_ns - EPOCH_NS)
    return message, now_ns


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_loss_falls_and_a_run_goes_on(
    config: TrainingConfig, sentences: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "recording"
    write_small_recording(folder, [SmallEpisode(spoil=_rising)], find_contract("tabletop_sim"))
    config.output.mkdir()
    shutil.copy(sentences, config.output / "sentences.npz")
    config = replace(
        config, recordings=(folder,), steps=40, freeze=("language", "grounder"),
        checkpoint_every=40, learning_rate=5e-3,
    )  # fmt: skip
    losses = [step["recorded_action"] for step in Trainer(config, tabletop_small()).run()]
    assert np.mean(losses[-8:]) < 0.5 * np.mean(losses[:8])
    longer = replace(config, steps=41)
    trainer = Trainer(longer, tabletop_small())
    assert trainer.step == 40
    assert len(list(trainer.run())) == 1
