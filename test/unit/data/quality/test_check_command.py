"""`vla_ros data check` on recordings with planted faults, on what cannot be read, and --fix."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from test.unit.data.quality.conftest import PLANTED, Planted
from vla_ros.cli.app import main
from vla_ros.core.errors import UserError
from vla_ros.data.episode import (
    CONTRACT,
    DESCRIPTION,
    State,
    message_files,
    read_episode,
    write_episode,
)
from vla_ros.data.message_file import RecordedMessage, read_messages
from vla_ros.data.quality.checker import check_recordings
from vla_ros.data.quality.fix_plan import plan_fixes
from vla_ros.data.quality.fixing import apply_fixes

ROOT = Path(__file__).parents[4]


def check(*arguments: str | Path) -> int:
    """Run the command in this process; return its exit status."""
    with pytest.raises(SystemExit) as stop:
        main(["data", "check", *map(str, arguments), "--workers", "1"])
    return int(stop.value.code or 0)


def found_in(path: Path) -> dict[str, list[str]]:
    """Return the checks that found something, by episode."""
    report = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: [item["check"] for item in episode["findings"]]
        for name, episode in report["episodes"].items()
    }


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def copy_of(planted: Planted, name: str, place: Path) -> Path:
    return Path(shutil.copytree(planted.folder / name, place / name))


def test_each_planted_fault_is_found_in_its_episode_and_none_in_the_good_ones(
    planted: Planted, tmp_path: Path
) -> None:
    assert check(planted.folder, "--json", tmp_path / "found.json") == 1
    found = found_in(tmp_path / "found.json")
    copy = f"episode_{len(PLANTED):06d}"
    for name, episode in planted.faults.items():
        assert name in found[copy if name == "duplicate" else episode], name
    assert [found[name] for name in planted.good] == [[], []]
    assert found[planted.faults["duplicate"]] == []


def test_good_episodes_exit_with_0(planted: Planted, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(*(planted.folder / name for name in planted.good)) == 0
    assert "2 episodes, 0 with findings; mean score 100" in capsys.readouterr().out


@pytest.mark.parametrize(("limit", "status"), [("error", 0), ("warning", 1), ("never", 0)])
def test_fail_on_sets_what_counts(planted: Planted, limit: str, status: int) -> None:
    assert check(planted.folder / planted.faults["skew"], "--fail-on", limit) == status


def test_an_unknown_severity_is_refused(
    planted: Planted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(planted.folder, "--fail-on", "bad") == 2
    assert "expected one of info, warning, error, got 'bad'" in capsys.readouterr().err


def test_the_page_needs_nothing_else_and_shows_pictures_and_findings(
    planted: Planted, tmp_path: Path
) -> None:
    check(planted.folder, "--report", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r'(src|href)=["\'](?!data:|#)', page)
    assert page.count("data:image/jpeg;base64,") >= 2 * 5 * len(PLANTED)
    assert page.count('class="joint"') >= 6 * len(PLANTED)
    for name in planted.faults.values():
        assert f"id='{name}'" in page
    assert "expected pictures that change while the robot moves" in page


def test_the_page_shows_hostile_instructions_as_text(planted: Planted, tmp_path: Path) -> None:
    folder = copy_of(planted, planted.good[0], tmp_path)
    path = folder / DESCRIPTION
    values = json.loads(path.read_text(encoding="utf-8"))
    values["instruction"] = "<script>alert(1)</script>"
    path.write_text(json.dumps(values), encoding="utf-8")
    check(tmp_path, "--report", tmp_path / "page.html")
    assert "<script" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_folder_without_episodes_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path) == 2
    assert "holds no episodes" in capsys.readouterr().err


def _no_messages(folder: Path) -> None:
    for path in message_files(folder):
        path.unlink()


def _no_contract(folder: Path) -> None:
    (folder / CONTRACT).unlink()


def _garbage(folder: Path) -> None:
    (path,) = message_files(folder)
    path.write_bytes(b"not mcap at all" * 1000)


def _no_json(folder: Path) -> None:
    (folder / DESCRIPTION).write_text("{", encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_no_messages, "expected messages, got none from no .mcap file"),
        (_no_contract, "contract.yaml: missing"),
        (_garbage, "expected messages, got none from"),
        (_no_json, "is no JSON"),
    ],
)
def test_an_episode_that_cannot_be_read_is_named_and_the_others_are_checked(
    planted: Planted, tmp_path: Path, spoil: Any, words: str
) -> None:
    bad, good = (copy_of(planted, name, tmp_path) for name in planted.good)
    spoil(bad)
    report = check_recordings([tmp_path])
    first, second = report.inspections
    assert [item.check for item in first.findings] == ["unreadable"]
    assert words in first.findings[0].got
    assert (first.score, second.name, second.score) == (0, good.name, 100)


def test_a_lone_message_from_another_clock_does_not_stretch_the_episode(
    planted: Planted, tmp_path: Path
) -> None:
    from vla_ros.testing.recording_realism import INSTRUCTION, rewrite

    folder = copy_of(planted, planted.good[0], tmp_path)

    def repeat(messages: list[RecordedMessage]) -> list[RecordedMessage]:
        said = next(item for item in messages if item.topic == INSTRUCTION)
        return [*messages, replace(said, log_ns=said.log_ns + 10**18)]

    rewrite(folder, repeat)
    (item,) = check_recordings([folder]).inspections
    assert item.findings == ()
    assert item.summary.duration_s < 10.0


def test_what_the_recorder_warned_of_is_worth_knowing_and_no_more(
    planted: Planted, tmp_path: Path
) -> None:
    folder = copy_of(planted, planted.good[0], tmp_path)
    write_episode(folder, replace(read_episode(folder), warnings=("the disk is nearly full",)))
    (item,) = check_recordings([folder]).inspections
    assert [finding.got for finding in item.findings] == ["its warning 'the disk is nearly full'"]
    assert (item.score, check(folder)) == (100, 0)


def test_another_process_checks_as_this_one_does(planted: Planted) -> None:
    alone, beside = (check_recordings([planted.folder], workers=count) for count in (1, 2))
    assert beside.to_dict() == alone.to_dict()


def test_fix_trims_restamps_and_drops_into_another_folder(
    planted: Planted, tmp_path: Path
) -> None:
    before, output = digests(planted.folder), tmp_path / "mended"
    check(planted.folder, "--fix", "--output", output)
    check(output, "--json", tmp_path / "left.json")
    assert digests(planted.folder) == before
    faults, left = planted.faults, found_in(tmp_path / "left.json")
    for name in ("frozen", "limits"):
        assert (output / "discarded" / faults[name]).is_dir()
        assert faults[name] not in left
    assert (output / "discarded" / f"episode_{len(PLANTED):06d}").is_dir()
    assert left[faults["skew"]] == left[faults["idle"]] == left[faults["duplicate"]] == []
    assert left[faults["typo"]] == ["typo"]
    said = read_episode(output / faults["skew"]).extra["fixes"]
    assert re.fullmatch(r"moved the stamps of /camera/wrist/image_raw by \+(8|9)\d ms", said[0])
    assert read_episode(output / faults["cut"]).state is State.CUT


def test_trimming_takes_the_rest_away_and_nothing_else(planted: Planted, tmp_path: Path) -> None:
    name = planted.faults["idle"]
    report = check_recordings([planted.folder / name])
    (fix,) = apply_fixes(plan_fixes(report), tmp_path / "mended")
    assert fix.end_ns is not None
    was, now = (
        [item for path in message_files(place / name) for item in read_messages(path)]
        for place in (planted.folder, tmp_path / "mended")
    )
    assert [item.data for item in now] == [item.data for item in was if item.log_ns <= fix.end_ns]
    assert 0 < len(now) < len(was)


def test_a_stopped_fix_goes_on_and_does_nothing_twice(planted: Planted, tmp_path: Path) -> None:
    fixes, output = plan_fixes(check_recordings([planted.folder])), tmp_path / "mended"
    for _ in itertools.islice(apply_fixes(fixes, output), 4):
        pass
    first = output / planted.faults["skew"] / DESCRIPTION
    written = first.stat().st_mtime_ns
    (output / ".partial").mkdir()
    (output / ".partial" / "half").touch()
    assert len(list(apply_fixes(fixes, output))) == len(fixes)
    assert first.stat().st_mtime_ns == written
    whole = tmp_path / "whole"
    list(apply_fixes(fixes, whole))
    assert digests(output).keys() == digests(whole).keys()


def test_fix_refuses_to_write_into_what_it_reads(planted: Planted, tmp_path: Path) -> None:
    fixes = plan_fixes(check_recordings([planted.folder / planted.good[0]]))
    with pytest.raises(UserError, match="expected a folder apart from what is checked"):
        list(apply_fixes(fixes, planted.folder))
    (tmp_path / "other").touch()
    with pytest.raises(UserError, match="is not empty"):
        list(apply_fixes(fixes, tmp_path))


def test_fix_without_output_is_refused(
    planted: Planted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(planted.folder, "--fix") == 2
    assert "--fix and --output go together" in capsys.readouterr().err


def test_a_dataset_made_of_recordings_is_checked_too(planted: Planted, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    chosen = [planted.faults[name] for name in ("frozen", "duplicate")]
    chosen += [f"episode_{len(PLANTED):06d}", planted.good[0]]
    sources = [str(planted.folder / name) for name in chosen]
    with pytest.raises(SystemExit) as stop:
        main(["data", "convert", *sources, str(tmp_path / "dataset")])
    assert not stop.value.code
    assert check(tmp_path / "dataset", "--json", tmp_path / "found.json") == 1
    found = list(found_in(tmp_path / "found.json").values())
    assert found == [["frozen"], [], ["duplicate"], []]


def test_a_dataset_without_a_robot_contract_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "meta").mkdir()
    info = {"codebase_version": "v3.0", "fps": 30, "features": {}}
    (tmp_path / "meta" / "info.json").write_text(json.dumps(info), encoding="utf-8")
    assert check(tmp_path) == 2
    assert "expected the robot contract in it" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_bench_finds_what_it_must(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="recordings are made with ROS 2's messages")
    script = str(ROOT / "bench" / "data_check.py")
    words = [sys.executable, script, "--check", "--seed", "20000"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
