"""`vla_ros data convert`, as it is typed."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vla_ros.cli.data_convert import require_extra
from vla_ros.core.errors import UserError
from vla_ros.testing.small_recordings import SmallEpisode, write_small_recording


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vla_ros.cli.app", "data", "convert", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


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
    output = str(tmp_path / "dataset")
    refused = run(str(recording), output, "--writer", "own", "--codec", "h264", "--workers", "1")
    assert refused.returncode == 2
    said = " ".join(refused.stderr.split())
    assert re.search(r"episode_000001: there is no message of /imu .* --bad skip", said)
    assert "Traceback" not in refused.stderr

    skipped = run(
        str(recording), output, "--bad", "skip", "--writer", "own", "--codec", "h264",
        "--workers", "1",
    )  # fmt: skip
    assert skipped.returncode == 0, skipped.stderr
    assert re.search(r"skipped: .*episode_000001: there is no message of /imu", skipped.stdout)
    assert re.search(
        r"dataset: 2 episodes.*, \d+ frames at 30 Hz, 1 episodes skipped; written by vla_ros",
        skipped.stdout,
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
    result = run(*arguments)
    assert result.returncode == 2
    assert said in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_what_is_not_installed_is_named_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pyarrow" else find(name)
    )
    with pytest.raises(UserError, match=r"need pyarrow: pip install 'vla_ros\[data\]'"):
        require_extra()
