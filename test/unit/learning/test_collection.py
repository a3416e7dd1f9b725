"""Collecting demonstrations: what is in them, resuming, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_ros.core.errors import UserError
from vla_ros.learning.actors import Actor
from vla_ros.learning.collection import CollectionConfig, collect, missing_episodes
from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.shards import missing_seeds, shard_path, shard_paths
from vla_ros.sim.scenes import HELD_OUT_COMBINATIONS, TEST_SEED


def put_shard(folder: Path, first: int, episodes: int) -> None:
    """Put a shard that holds no more than what counts its episodes."""
    arrays = {"meta/skill": np.zeros(episodes, np.int8)}
    np.savez(shard_path(folder, first), **arrays)  # type: ignore[arg-type]


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
    for shard in demonstrations.glob("shard-*.npz"):
        (other / shard.name).hardlink_to(shard)
    data = Demonstrations.load([demonstrations], [other])
    np.testing.assert_array_equal(data.meta["imitate"], [True] * 4 + [False] * 4)


def test_what_is_there_is_not_collected_again(demonstrations: Path) -> None:
    config = CollectionConfig(directory=demonstrations, episodes=4, image_probability=0.15)
    assert missing_episodes(config) == 0
    assert list(collect(config, workers=1)) == []
    assert missing_episodes(replace(config, episodes=60)) == 56
    assert missing_episodes(replace(config, episodes=60, first_seed=2)) == 58


def test_scenes_are_missing_until_a_shard_really_holds_them(tmp_path: Path) -> None:
    put_shard(tmp_path, 0, 10)
    put_shard(tmp_path, 30, 5)
    missing = missing_seeds(tmp_path, range(5, 70))
    assert missing == [range(10, 30), range(35, 60), range(60, 70)]
    for seeds in missing:
        put_shard(tmp_path, seeds.start, len(seeds))
    assert missing_seeds(tmp_path, range(70)) == []


def test_a_file_that_is_no_shard_is_named(tmp_path: Path) -> None:
    shard_path(tmp_path, 0).write_bytes(b"torn")
    with pytest.raises(UserError, match=r"shard-000000000\.npz: is no shard .*remove it"):
        missing_seeds(tmp_path, range(5))


def test_an_episode_is_the_same_whenever_it_is_played(tmp_path: Path) -> None:
    whole = CollectionConfig(directory=tmp_path / "whole", episodes=2, image_probability=0.02)
    assert [played for played, _ in collect(whole, workers=1)] == [2]
    parts = replace(whole, directory=tmp_path / "parts")
    for episodes in (1, 2):
        assert [played for played, _ in collect(replace(parts, episodes=episodes), 1)] == [1]
    at_once, later = (Demonstrations.load([config.directory]) for config in (whole, parts))
    for group in ("meta", "states", "images"):
        for key, value in getattr(at_once, group).items():
            np.testing.assert_array_equal(value, getattr(later, group)[key], err_msg=key)


def test_other_settings_in_the_same_folder_are_refused_and_named(tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    policy.write_bytes(b"another")
    config = CollectionConfig(directory=tmp_path / "data", episodes=1, stills=1)
    assert list(collect(config, workers=1)) == [(1, 0)]
    other = replace(
        config, episodes=60, disturbance=0.5, image_probability=0.0, stills=2, policy=policy
    )
    with pytest.raises(UserError, match="was collected with other settings") as refusal:
        missing_episodes(other)
    with pytest.raises(UserError, match=r"or another --output$"):
        list(collect(other, workers=1))
    for difference in (
        "image-share is 0.0, was 0.3",
        "disturbance is 0.5, was 1.0",
        "stills is 2, was 1",
        "policy is ae448ac86c4e…, was none",
    ):
        assert difference in str(refusal.value)
    assert "expert-share" not in str(refusal.value)


def test_a_folder_of_before_settings_were_kept_is_trained_on_but_not_added_to(
    demonstrations: Path, tmp_path: Path
) -> None:
    for shard in demonstrations.glob("shard-*.npz"):
        (tmp_path / shard.name).hardlink_to(shard)
    config = CollectionConfig(directory=tmp_path, episodes=60)
    with pytest.raises(UserError, match=r"no collection\.json.*give another --output"):
        list(collect(config, workers=1))
    assert len(Demonstrations.load([tmp_path]).meta["skill"]) == 4
    (tmp_path / "collection.json").write_text("{torn")
    with pytest.raises(UserError, match=r"collection\.json: is no JSON"):
        missing_episodes(config)


def test_a_folder_keeps_what_it_was_collected_with(demonstrations: Path) -> None:
    kept = json.loads((demonstrations / "collection.json").read_text())
    assert kept == {
        "image-share": 0.15,
        "disturbance": 1.0,
        "expert-share": 0.2,
        "stills": 0,
        "lag": 0.0,
        "rows": 16,
        "one-at-a-time": False,
        "interventions": False,
        "policy": None,
    }


@pytest.mark.parametrize(("first", "episodes"), [(-1, 5), (TEST_SEED - 2, 5), (TEST_SEED, 1)])
def test_seeds_of_the_test_splits_are_refused(tmp_path: Path, first: int, episodes: int) -> None:
    with pytest.raises(ValueError, match="belong to the test splits"):
        CollectionConfig(directory=tmp_path, episodes=episodes, first_seed=first)


def test_stills_show_a_scene_from_several_poses_and_train_the_eyes_alone(tmp_path: Path) -> None:
    config = CollectionConfig(directory=tmp_path, episodes=2, first_seed=50, stills=3)
    assert list(collect(config, workers=1)) == [(2, 0)]
    data = Demonstrations.load((tmp_path,))
    assert len(data.images["row"]) == 6
    assert not data.meta["imitate"].any(), "an arm that stands still is nothing to imitate"
    poses = np.asarray(data.states["state"], np.float64)
    assert np.abs(np.diff(poses[:3], axis=0)).max(1).min() > 0.05
    depth = np.asarray(data.images["depth_front"], np.float64) / 1000.0
    assert np.abs(np.diff(depth[:3], axis=0)).max() > 0.02, "the arm stands elsewhere"


def test_shards_of_before_stills_were_marked_are_taken_for_episodes(
    demonstrations: Path, tmp_path: Path
) -> None:
    for path in demonstrations.glob("shard-*.npz"):
        with np.load(path) as shard:
            kept = {key: shard[key] for key in shard.files if key != "meta/imitate"}
        np.savez(tmp_path / path.name, **kept)
    assert Demonstrations.load((tmp_path, demonstrations)).meta["imitate"].all()
    assert not Demonstrations.load((), (tmp_path,)).meta["imitate"].any()


def test_a_policy_is_watched_and_who_acted_is_kept(tmp_path: Path, language_files: Path) -> None:
    shipped = language_files  # it does well: nobody has to take over
    config = CollectionConfig(
        directory=tmp_path, episodes=1, image_probability=0.0, policy=shipped, watched=True
    )
    assert list(collect(config, workers=1)) == [(1, 1)]
    (path,) = shard_paths(tmp_path)
    with np.load(path) as shard:
        assert len(shard["states/actor"]) == len(shard["states/state"])
        assert Actor.POLICY in shard["states/actor"]
        assert Actor.DEMONSTRATOR not in shard["states/actor"]
