"""Collecting demonstrations: what is in them, resuming, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vla_ros.learning.collection import CollectionConfig, collect, missing_episodes
from vla_ros.learning.dataset import Demonstrations
from vla_ros.sim.scenes import HELD_OUT_COMBINATIONS, TEST_SEED


def test_states_and_images_of_an_episode_belong_together(demonstrations: Path) -> None:
    data = Demonstrations.load([demonstrations])
    assert len(data.meta["skill"]) == 4
    rows = data.images["row"]
    assert len(rows) > 10
    assert (np.diff(rows) > 0).all()
    assert rows.max() < len(data.states["episode"])
    assert data.images["rgb_front"].shape[1:] == (128, 128, 3)
    assert data.images["depth_wrist"].dtype == np.uint16
    assert np.isfinite(data.states["chunk"]).all()
    assert data.states["imu"].shape[1:] == (20, 6)
    for episode in range(4):
        (skill, pair, goal), named, target = data.meaning(episode)
        assert pair == data.pair(episode, named)
        assert pair not in HELD_OUT_COMBINATIONS
        assert (target >= 0) == (skill in ("place", "stack"))
        assert (goal is None) == (skill in ("reach", "lift"))


def test_two_folders_are_joined_without_mixing_their_rows(demonstrations: Path) -> None:
    once, twice = Demonstrations.load([demonstrations]), Demonstrations.load([demonstrations] * 2)
    assert len(twice.meta["skill"]) == 8
    count = len(once.states["episode"])
    np.testing.assert_array_equal(twice.states["episode"][count:], once.states["episode"] + 4)
    np.testing.assert_array_equal(
        twice.images["row"][len(once.images["row"]) :], once.images["row"] + count
    )


def test_images_for_the_eyes_alone_are_marked(demonstrations: Path, tmp_path: Path) -> None:
    other = tmp_path / "eyes"
    other.mkdir()
    for shard in demonstrations.iterdir():
        (other / shard.name).hardlink_to(shard)
    data = Demonstrations.load([demonstrations], [other])
    np.testing.assert_array_equal(data.meta["imitate"], [True] * 4 + [False] * 4)


def test_what_is_there_is_not_collected_again(demonstrations: Path) -> None:
    config = CollectionConfig(directory=demonstrations, episodes=4)
    assert missing_episodes(config) == 0
    assert list(collect(config, workers=1)) == []
    assert missing_episodes(CollectionConfig(directory=demonstrations, episodes=60)) == 35


@pytest.mark.parametrize(("first", "episodes"), [(-1, 5), (TEST_SEED - 2, 5), (TEST_SEED, 1)])
def test_seeds_of_the_test_splits_are_refused(tmp_path: Path, first: int, episodes: int) -> None:
    with pytest.raises(ValueError, match="belong to the test splits"):
        CollectionConfig(directory=tmp_path, episodes=episodes, first_seed=first)


def test_stills_show_a_scene_from_several_poses_and_train_the_eyes_alone(tmp_path: Path) -> None:
    config = CollectionConfig(directory=tmp_path, episodes=2, first_seed=50, stills=3)
    assert list(collect(config, workers=1)) == [(2, 0)]
    data = Demonstrations.load((), (tmp_path,))
    assert len(data.images["row"]) == 6
    assert not data.meta["imitate"].any()
    poses = np.asarray(data.states["state"], np.float64)
    assert np.abs(np.diff(poses[:3], axis=0)).max(1).min() > 0.05
    depth = np.asarray(data.images["depth_front"], np.float64) / 1000.0
    assert np.abs(np.diff(depth[:3], axis=0)).max() > 0.02, "the arm stands elsewhere"
