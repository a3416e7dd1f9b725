"""`vla_ros data convert`, as it is typed."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vla_ros.cli.data import data
from vla_ros.cli.data_convert import require_extra
from vla_ros.core.errors import UserError
from vla_ros.testing.small_recordings import SmallEpisode, write_small_recording

OPTIONS = ("--writer", "own", "--codec", "h264", "--workers", "1")


def run(*arguments: str) -> str:
    """Run the command in this process; return what it prints."""
    done = CliRunner().invoke(data, ["convert", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good episodes around a bad one."""
    folder = tmp_path_factory.mktemp("command") / "recording"
    good = SmallEpisode(length_s=0.6)
    bad = SmallEpisode(spoil=lambda topic, m, now: None if topic == "/imu" else (m, now))
    write_small_recording(folder, [good, bad, good])
    return folder


def test_bad_episodes_are_refused_by_name_and_skipped_when_asked_to(
    recording: Path, tmp_path: Path
) -> None:
    arguments = (str(recording), str(tmp_path / "dataset"), *OPTIONS)
    with pytest.raises(UserError, match=r"episode_000001: there is no message of /imu") as caught:
        run(*arguments)
    assert "--bad skip" in str(caught.value)

    said = run(*arguments, "--bad", "skip")
    assert re.search(r"skipped: .*episode_000001: there is no message of /imu", said)
    assert re.search(
        r"dataset: 2 episodes.*, \d+ frames at 30 Hz, 1 episodes skipped; written by vla_ros", said
    )
    info = json.loads((tmp_path / "dataset/meta/info.json").read_text("utf-8"))
    assert info["total_episodes"] == 2
    assert info["robot_type"] == "tabletop_sim"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("only_one",), "expected recordings, and then the folder of the dataset"),
        (("nowhere", "out"), "nowhere: holds no episodes"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        run(*arguments)


def test_what_is_not_installed_is_named_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pyarrow" else find(name)
    )
    with pytest.raises(UserError, match=r"need pyarrow: pip install 'vla_ros\[data\]'"):
        require_extra()
