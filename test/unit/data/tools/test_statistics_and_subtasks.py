"""Statistics computed anew, and what is done when."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from vla_ros.core.errors import UserError
from vla_ros.data.episode import episode_folders, read_episode
from vla_ros.data.frames import open_episode
from vla_ros.data.tools.merging import merge_recordings
from vla_ros.data.tools.statistics import compute_statistics, write_statistics
from vla_ros.data.tools.subtasks import Subtask, annotate, subtask_at, subtasks_of


@pytest.fixture
def copy(takes: Path, tmp_path: Path) -> Path:
    """A copy of two episodes, to write into."""
    folder = tmp_path / "copy"
    for source in episode_folders(takes)[:2]:
        shutil.copytree(source, folder / source.name)
    return folder


def test_statistics_are_those_of_all_frames_together(copy: Path) -> None:
    found = compute_statistics(copy, workers=1)
    frames = [frame for f in episode_folders(copy) for frame in open_episode(f).frames()]
    states = np.array([frame.observation.state for frame in frames], np.float64)
    actions = np.array([frame.action for frame in frames])
    for name, values in (("observation.state", states), ("action", actions)):
        np.testing.assert_allclose(found[name]["mean"], values.mean(axis=0), atol=1e-9)
        np.testing.assert_allclose(found[name]["std"], values.std(axis=0), atol=1e-9)
        np.testing.assert_array_equal(found[name]["max"], values.max(axis=0))
        assert found[name]["count"] == [len(frames)]
    assert found["observation.images.front"]["mean"].shape == (3, 1, 1)
    assert 0.1 < found["observation.images.front"]["mean"].mean() < 0.9
    assert 0.1 < found["observation.depth.front"]["mean"][0] < 1.5  # [m]


def test_statistics_are_written_once_unless_they_are_to_be_replaced(copy: Path) -> None:
    found = compute_statistics(copy, workers=2)
    path = write_statistics(copy, found, replace=False)
    assert json.loads(path.read_text())["action"]["mean"] == found["action"]["mean"].tolist()
    with pytest.raises(UserError, match="--replace"):
        write_statistics(copy, found, replace=False)
    write_statistics(copy, found, replace=True)
    assert [item.name for item in copy.glob("*.partial")] == []


def test_statistics_of_a_lerobot_dataset_are_those_of_its_conversion(
    copy: Path, tmp_path: Path
) -> None:
    pytest.importorskip("av")
    from typer.testing import CliRunner

    from vla_ros.cli.data import data

    output = tmp_path / "dataset"
    words = ["convert", str(copy), str(output), "--writer", "own", "--images", "png"]
    done = CliRunner().invoke(data, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    written = json.loads((output / "meta" / "stats.json").read_text())
    found = compute_statistics(output)
    for name in ("observation.state", "action", "observation.images.front"):
        for key in ("mean", "std", "min", "max"):
            np.testing.assert_allclose(found[name][key], written[name][key], atol=1e-6)


def test_subtasks_are_kept_through_copies_and_found_by_time(copy: Path, tmp_path: Path) -> None:
    folder = episode_folders(copy)[0]
    begun = read_episode(folder)
    stretches = [
        Subtask(begin_s=0.5, end_s=1.0, text="close the gripper"),
        Subtask(begin_s=0.0, end_s=0.5, text="reach for it "),
    ]
    annotate(folder, stretches)
    assert [item.text for item in subtasks_of(read_episode(folder))] == [
        "reach for it",
        "close the gripper",
    ]
    merge_recordings([copy], tmp_path / "merged")
    episode = read_episode(episode_folders(tmp_path / "merged")[0])
    times = [begun.start_ns + round(1e9 * at) for at in (0.0, 0.49, 0.5, 1.0)]
    assert [subtask_at(episode, at) for at in times] == [
        "reach for it", "reach for it", "close the gripper", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stretches", "told"),
    [
        ([(0.0, 0.6, "a"), (0.5, 1.0, "b")], "'a' ends at 0.6 s, after 'b' begins"),
        ([(0.0, 99.0, "a")], "expected a stretch within 0 to"),
        ([(0.4, 0.4, "a")], "expected a stretch within"),
        ([(float("nan"), 0.4, "a")], "expected a stretch within"),
        ([(0.0, 0.4, " ")], "has no words"),
    ],
)
def test_subtasks_that_are_none_are_refused_and_nothing_is_written(
    copy: Path, stretches: list[tuple[float, float, str]], told: str
) -> None:
    folder = episode_folders(copy)[0]
    before = (folder / "episode.json").read_bytes()
    with pytest.raises(UserError, match=told):
        annotate(folder, [Subtask(begin_s=b, end_s=e, text=t) for b, e, t in stretches])
    assert (folder / "episode.json").read_bytes() == before


def test_subtasks_are_replaced_only_when_asked_to(copy: Path) -> None:
    folder = episode_folders(copy)[0]
    annotate(folder, [Subtask(begin_s=0, end_s=0.5, text="reach")])
    with pytest.raises(UserError, match="has 1 subtasks; --replace"):
        annotate(folder, [Subtask(begin_s=0, end_s=0.4, text="go")])
    annotate(folder, [Subtask(begin_s=0, end_s=0.4, text="go")], overwrite=True)
    assert [item.text for item in subtasks_of(read_episode(folder))] == ["go"]
    annotate(folder, [], overwrite=True)
    assert "subtasks" not in read_episode(folder).extra
