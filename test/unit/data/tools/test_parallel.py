"""`map_episodes`: many episodes in processes, with what fails, and with a journal."""

from __future__ import annotations

import importlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vla_ros.core.errors import UserError
from vla_ros.data.parallel import Processed, map_episodes
from vla_ros.data.storage import episode_sources

WORK = """
import os
from pathlib import Path
from vla_ros.core.errors import UserError

def size(folder, unit=1):
    with (folder.parent / "calls").open("a") as file:
        file.write(folder.name + "\\n")
    text = (folder / "episode.json").read_text()
    if text == "mend":
        raise UserError(f"{folder.name}: mend me")
    if text == "defect":
        raise KeyError("joint_7")
    if text == "crash":
        os.abort()
    return len(text) // unit

def here(folder):
    return str(folder)
"""


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recording of four episodes of 10 to 40 bytes, and a module of work that processes find."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "episode_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(modules))
    for number in range(4):
        folder = tmp_path / "recording" / f"episode_{number:06d}"
        folder.mkdir(parents=True)
        (folder / "episode.json").write_text("x" * 10 * (number + 1))
    return tmp_path / "recording"


def _work(name: str) -> Any:
    return getattr(importlib.import_module("episode_work"), name)


def _spoil(recording: Path, number: int, text: str) -> None:
    (recording / f"episode_{number:06d}" / "episode.json").write_text(text)


def _by_number(results: list[Processed[int]]) -> dict[int, Processed[int]]:
    return {int(item.source.rpartition("_")[2]): item for item in results}


@pytest.mark.parametrize("workers", [1, 2])
def test_every_episode_is_given_to_the_function_once(recording: Path, workers: int) -> None:
    size = _work("size")

    results = list(
        map_episodes(partial(size, unit=10), episode_sources(recording), workers=workers)
    )
    assert {number: item.value for number, item in _by_number(results).items()} == {
        0: 1, 1: 2, 2: 3, 3: 4,
    }  # fmt: skip
    assert len((recording / "calls").read_text().split()) == 4


@pytest.mark.parametrize("workers", [1, 2])
def test_what_fails_is_told_and_the_others_go_on(recording: Path, workers: int) -> None:
    size = _work("size")

    _spoil(recording, 1, "mend")
    _spoil(recording, 2, "defect")
    results = _by_number(list(map_episodes(size, episode_sources(recording), workers=workers)))
    assert results[1].error == "episode_000001: mend me"
    assert results[2].error == "KeyError: 'joint_7'"
    assert (results[0].value, results[3].value) == (10, 40)


def test_an_episode_that_kills_its_process_costs_no_other_episode(recording: Path) -> None:
    size = _work("size")

    _spoil(recording, 1, "crash")
    results = _by_number(list(map_episodes(size, episode_sources(recording), workers=2)))
    assert "was killed" in results[1].error
    assert [results[number].value for number in (0, 2, 3)] == [10, 30, 40]


def test_a_journal_lets_a_stopped_run_go_on_and_repeats_what_failed_or_changed(
    recording: Path, tmp_path: Path
) -> None:
    size = _work("size")

    def run() -> dict[int, Processed[int]]:
        (recording / "calls").unlink(missing_ok=True)
        sources = episode_sources(recording)
        return _by_number(list(map_episodes(size, sources, workers=1, journal=journal)))

    journal = tmp_path / "journal.jsonl"
    started = map_episodes(size, episode_sources(recording), workers=1, journal=journal)
    next(started)  # and no further
    del started
    _spoil(recording, 2, "mend")
    assert [item.resumed for _, item in sorted(run().items())] == [True, False, False, False]
    with journal.open("a") as file:
        file.write('{"name": "torn')
    _spoil(recording, 2, "mended")
    _spoil(recording, 3, "changed")
    results = run()
    assert [results[number].value for number in range(4)] == [10, 20, 6, 7]
    called = sorted((recording / "calls").read_text().split())
    assert called == ["episode_000002", "episode_000003"]


def test_a_journal_of_other_settings_is_refused_with_their_names(
    recording: Path, tmp_path: Path
) -> None:
    size = _work("size")

    journal = tmp_path / "journal.jsonl"
    sources = episode_sources(recording)
    list(map_episodes(size, sources, workers=1, journal=journal, settings={"fps": 20}))
    with pytest.raises(UserError, match="was begun with another fps"):
        list(map_episodes(size, sources, workers=1, journal=journal, settings={"fps": 30}))
    journal.write_text(json.dumps([1]) + "\n")
    with pytest.raises(UserError, match="is no journal"):
        list(map_episodes(size, sources, workers=1, journal=journal))


def test_episodes_of_a_url_are_copied_one_at_a_time_and_the_copies_removed(
    recording: Path,
) -> None:
    import fsspec

    here = _work("here")

    memory = fsspec.filesystem("memory")
    memory.put(str(recording), "/bucket/takes", recursive=True)
    try:
        sources = episode_sources("memory://bucket/takes")
        assert sources[1] == "memory://bucket/takes/episode_000001"
        results = list(map_episodes(here, sources, workers=1))
    finally:
        memory.rm("/bucket", recursive=True)
    places = [Path(str(item.value)) for item in results]
    assert [place.name for place in places] == [f"episode_{number:06d}" for number in range(4)]
    assert not any(place.exists() for place in places)


def test_a_url_that_nothing_opens_is_refused_with_what_is_missing() -> None:
    with pytest.raises(UserError, match="nosuch://place"):
        episode_sources("nosuch://place")


@pytest.mark.slow
def test_ray_data_gives_the_same_and_bears_an_episode_that_kills_its_process(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray.data", reason="needs Ray Data: pip install 'vla_ros[scale]'")
    size = _work("size")

    monkeypatch.setenv("PYTHONPATH", str(Path(size.__code__.co_filename).parent))
    _spoil(recording, 1, "crash")
    _spoil(recording, 2, "mend")
    sources = episode_sources(recording)
    results = _by_number(list(map_episodes(size, sources, workers=2, ray_address="local")))
    assert {number: item.value for number, item in results.items()} == {
        0: 10, 1: None, 2: None, 3: 40,
    }  # fmt: skip
    assert "was killed" in results[1].error
    assert results[2].error == "episode_000002: mend me"
