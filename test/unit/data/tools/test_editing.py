"""Merging, splitting, deleting and renaming of recordings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from vla_ros.contract import load_contract
from vla_ros.core.errors import UserError
from vla_ros.data.episode import episode_folders, message_files, read_episode
from vla_ros.data.frames import open_episode
from vla_ros.data.message_file import read_messages
from vla_ros.data.tools.editing import Deletion, Renaming, delete, rename
from vla_ros.data.tools.merging import (
    Criterion,
    merge_recordings,
    split_by_criterion,
    split_by_share,
)

DEPTH = "observation.depth.wrist"


def _messages(folder: Path) -> list[tuple[str, int, bytes]]:
    return [
        (item.topic, item.log_ns, item.data)
        for path in message_files(folder)
        for item in read_messages(path)
    ]


def test_a_merge_holds_every_message_of_its_parts_in_their_order(
    takes: Path, tmp_path: Path
) -> None:
    first, second = episode_folders(takes)[:2]
    assert merge_recordings([second, takes, first], tmp_path / "all") == 6
    merged = episode_folders(tmp_path / "all")
    assert [read_episode(folder).number for folder in merged] == list(range(6))
    assert [folder.name for folder in merged] == [f"episode_{n:06d}" for n in range(6)]
    assert read_episode(merged[0]).extra["origin"] == "takes/episode_000001"
    assert _messages(merged[0]) == _messages(second)
    assert _messages(merged[5]) == _messages(first)
    assert message_files(merged[3])[0].name == "episode_000003_0.mcap"


def test_a_merge_costs_no_disk_for_messages_and_leaves_its_parts_as_they_are(
    takes: Path, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in sorted(takes.rglob("*")) if path.is_file()}
    copy = tmp_path / "copy"
    shutil.copytree(takes, copy)
    merge_recordings([copy], tmp_path / "all")
    one = message_files(episode_folders(tmp_path / "all")[0])[0]
    assert one.stat().st_nlink == 2
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_nothing_is_overwritten_and_nothing_half_is_left(takes: Path, tmp_path: Path) -> None:
    target = tmp_path / "all"
    merge_recordings([takes], target)
    with pytest.raises(UserError, match="is there already, and is not overwritten"):
        merge_recordings([takes], target)
    broken = tmp_path / "broken"
    shutil.copytree(takes, broken)
    (episode_folders(broken)[-1] / "contract.yaml").write_text("version: 1\n")
    with pytest.raises(UserError):
        delete(broken, tmp_path / "other", Deletion(features=[DEPTH]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all", "broken"]


def test_recordings_of_two_contracts_are_not_merged(takes: Path, tmp_path: Path) -> None:
    delete(takes, tmp_path / "shallow", Deletion(features=[DEPTH]))
    with pytest.raises(UserError, match="with another contract than"):
        merge_recordings([takes, tmp_path / "shallow"], tmp_path / "all")


def test_a_split_by_share_deals_every_episode_out_once_and_the_same_way_for_a_seed(
    takes: Path, tmp_path: Path
) -> None:
    def origins(place: str, seed: int) -> dict[str, list[str]]:
        split_by_share(takes, tmp_path / place, {"train": 0.75, "val": 0.25}, seed)
        return {
            name: [
                str(read_episode(f).extra["origin"])
                for f in episode_folders(tmp_path / place / name)
            ]
            for name in ("train", "val")
        }

    first = origins("a", 5)
    assert [len(part) for part in first.values()] == [3, 1]
    assert sorted(first["train"] + first["val"]) == [f"takes/episode_{n:06d}" for n in range(4)]
    assert origins("b", 5) == first
    assert any(origins(f"c{seed}", seed) != first for seed in range(4))


def test_shares_that_are_none_are_refused(takes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"together 1\.1"):
        split_by_share(takes, tmp_path / "a", {"train": 0.9, "val": 0.2})
    with pytest.raises(UserError, match="none for 'val'"):
        split_by_share(takes, tmp_path / "a", {"train": 0.99, "val": 0.01})


def test_a_split_by_task_puts_equal_instructions_together(takes: Path, tmp_path: Path) -> None:
    merge_recordings([takes, takes], tmp_path / "twice")
    parts = split_by_criterion(tmp_path / "twice", tmp_path / "tasks", Criterion.TASK)
    assert set(parts.values()) == {2}
    for name in parts:
        texts = {read_episode(f).instruction for f in episode_folders(tmp_path / "tasks" / name)}
        assert len(texts) == 1


def test_a_deleted_feature_takes_its_messages_and_its_entry_in_the_contract_along(
    takes: Path, tmp_path: Path
) -> None:
    assert delete(takes, tmp_path / "out", Deletion(episodes={1}, features=[DEPTH])) == 3
    folders = episode_folders(tmp_path / "out")
    assert [read_episode(folder).number for folder in folders] == [0, 2, 3]
    episode = read_episode(folders[0])
    assert "/camera/wrist/depth" not in episode.topics
    kept = [item for item in _messages(episode_folders(takes)[0]) if "wrist/depth" not in item[0]]
    assert _messages(folders[0]) == kept
    contract = load_contract(folders[0] / "contract.yaml")
    assert DEPTH not in {item.feature for item in contract.observations}
    frame = next(iter(open_episode(folders[0]).frames()))
    assert frame.instruction == episode.instruction
    described = yaml.safe_load((folders[0] / "metadata.yaml").read_text())
    bag = described["rosbag2_bagfile_information"]
    assert bag["message_count"] == len(kept)


def test_a_damaged_episode_is_not_made_a_whole_one_with_less_in_it(
    takes: Path, tmp_path: Path
) -> None:
    shutil.copytree(takes, tmp_path / "takes")
    file = message_files(episode_folders(tmp_path / "takes")[1])[0]
    damaged = bytearray(file.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 4096] = bytes(4096)
    file.write_bytes(damaged)
    with pytest.raises(UserError, match=r"episode_000001: .* can be read: a file is damaged"):
        delete(tmp_path / "takes", tmp_path / "less", Deletion(features=(DEPTH,)))
    assert not (tmp_path / "less").exists()


def test_what_is_not_there_cannot_be_deleted_and_what_is_there_is_named(
    takes: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="has no episode 9; it has 0, 1, 2, 3"):
        delete(takes, tmp_path / "out", Deletion(episodes={9}))
    with pytest.raises(UserError, match="has no feature 'depth'; it has observation"):
        delete(takes, tmp_path / "out", Deletion(features=["depth"]))
    with pytest.raises(UserError, match="no episode would be left"):
        delete(takes, tmp_path / "out", Deletion(episodes=range(4)))


def test_a_renamed_task_is_told_everywhere(takes: Path, tmp_path: Path) -> None:
    source = episode_folders(takes)[0]
    old = read_episode(source).instruction
    rename(takes, tmp_path / "out", Renaming(tasks={old: "lift it"}, episodes={0: 40}))
    folder = tmp_path / "out" / "episode_000040"
    assert read_episode(folder).instruction == "lift it"
    assert {frame.instruction for frame in open_episode(folder).frames()} == {"lift it"}
    told = [
        message.instruction
        for topic, _, message in open_episode(folder).messages(["/vla/policy/chunk"])
    ]
    assert set(told) == {"lift it"}
    others = [item for item in _messages(folder) if not item[0].startswith("/vla/")]
    assert others == [item for item in _messages(source) if not item[0].startswith("/vla/")]


def test_a_renamed_feature_is_read_by_its_new_name_from_the_old_topic(
    takes: Path, tmp_path: Path
) -> None:
    old, new = "observation.images.wrist", "observation.images.hand"
    rename(takes, tmp_path / "out", Renaming(features={old: new}))
    folder = episode_folders(tmp_path / "out")[0]
    frame = next(iter(open_episode(folder).frames()))
    assert {"front", "hand"} == set(frame.observation.images)
    with pytest.raises(UserError, match="two features would have one name"):
        rename(takes, tmp_path / "x", Renaming(features={old: "observation.images.front"}))


def test_two_episodes_never_get_one_number(takes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two episodes would have the number 3"):
        rename(takes, tmp_path / "out", Renaming(episodes={0: 3}))
    rename(takes, tmp_path / "out", Renaming(episodes={0: 3, 3: 0}))
    first = read_episode(tmp_path / "out" / "episode_000003")
    assert first.instruction == read_episode(episode_folders(takes)[0]).instruction


def test_a_lerobot_dataset_is_named_with_what_edits_it(tmp_path: Path) -> None:
    (tmp_path / "dataset" / "meta").mkdir(parents=True)
    (tmp_path / "dataset" / "meta" / "info.json").write_text("{}")
    with pytest.raises(UserError, match=r"is a LeRobotDataset, which .*lerobot-edit-dataset"):
        split_by_criterion(tmp_path / "dataset", tmp_path / "parts", Criterion.TASK)
