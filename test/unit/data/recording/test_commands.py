from __future__ import annotations

from pathlib import Path

import pytest

from vla_ros.cli.app import build_app
from vla_ros.data.episode import (
    Episode,
    Outcome,
    State,
    episode_folders,
    read_episode,
    write_episode,
)
from vla_ros.data.message_file import MessageFile
from vla_ros.testing.recorded_messages import IMAGE, image, topics


def make_episode(recording: Path, number: int, state: State) -> Path:
    """Write an episode of three images; one that is `recording` has no end."""
    episode = Episode(number=number, state=state, instruction="lift it", outcome=Outcome.SUCCESS)
    folder = recording / episode.name
    folder.mkdir(parents=True)
    write_episode(folder, episode)
    file = MessageFile(folder / f"{episode.name}_0.mcap")
    file.add_topic(topics()[0])
    for item in range(3):
        file.add(IMAGE, image(item).data, 1000 + item, 1000 + item)
    file.flush()
    if state is not State.RECORDING:
        file.close()
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    build_app("data")(args=["data", *words], standalone_mode=False)
    return capsys.readouterr().out


def test_list_and_recover_say_what_is_there_and_mend_what_nobody_closed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    make_episode(tmp_path, 0, State.COMPLETE)
    cut = make_episode(tmp_path, 1, State.RECORDING)
    assert "2 episodes" in run(capsys, "list", str(tmp_path))
    said = run(capsys, "recover", str(tmp_path))
    assert "episode_000001: cut; 3 messages" in said
    assert read_episode(cut).topics == {IMAGE: 3}
    listed = run(capsys, "list", str(tmp_path))
    assert "episode_000001 is cut: the recorder ended without closing it" in listed
    assert "every episode is closed" in run(capsys, "recover", str(tmp_path))
    assert len(episode_folders(tmp_path)) == 2
