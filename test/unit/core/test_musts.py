"""Musts are read from one file, and each that falls short is named."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from vla_ros.cli.measurement import conclude
from vla_ros.cli.musts import Musts
from vla_ros.core.errors import UserError

EVAL = "vla_ros eval --suite core"
GOOD = {
    "success": 0.95,
    "episodes": 200,
    "violations": 0,
    "commands": 60000,
    "per_skill": {"reach": 0.85, "lift": 1.0},
}


def test_results_that_reach_every_must_fall_short_of_none() -> None:
    assert Musts.load(EVAL).check(GOOD) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"success": 0.9299}, "success: must be at least 0.93, is 0.9299"),
        ({"success": math.nan}, "success: must be at least 0.93, is nan"),
        ({"success": None}, "success: must be at least 0.93, is missing"),
        ({"success": True}, "success: must be at least 0.93, is True"),
        ({"violations": 1}, "violations: must be at most 0, is 1"),
        ({"per_skill": {"lift": 0.84}}, "per_skill.lift: must be at least 0.85, is 0.84"),
        ({"per_skill": {}}, "per_skill: must have values of at least 0.85 each, there are none"),
    ],
)
def test_a_must_that_falls_short_is_named(change: dict[str, object], line: str) -> None:
    assert Musts.load(EVAL).check(GOOD | change) == [line]


def test_dots_descend_and_booleans_are_compared_exactly() -> None:
    musts = Musts("x", {"a.b": {"is": True}, "c": {"below": 0.4}})
    assert musts.check({"a": {"b": True}, "c": 0.39}) == []
    assert musts.check({"a": {"b": 1}, "c": 0.4}) == [
        "a.b: must be exactly True, is 1",
        "c: must be below 0.4, is 0.4",
    ]


@pytest.mark.parametrize(
    ("value", "shown"), [("no gain", "'no gain'"), ("", "''"), (None, "missing"), (3.0, "3")]
)
def test_a_finding_must_be_said_in_words(value: object, shown: str) -> None:
    musts = Musts("x", {"finding": {"words": 3}})
    assert musts.check({"finding": "no gain is shown"}) == []
    assert musts.check({"finding": value}) == [
        f"finding: must be said in words, at least 3, is {shown}"
    ]


def test_a_command_without_musts_lists_those_that_have_some(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no musts for 'bench/x\.py'; there are vla_ros eval"):
        Musts.load("bench/x.py")
    with pytest.raises(UserError, match=r"gone\.toml: cannot be read"):
        Musts.load(EVAL, tmp_path / "gone.toml")
    with pytest.raises(UserError, match=r"a: expected one of min.*got most"):
        Musts("x", {"a": {"most": 1}})


@pytest.mark.parametrize(("value", "status"), [(0.95, 0), (0.5, 1)])
def test_a_measurement_ends_with_a_table_a_file_and_a_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: float, status: int
) -> None:
    file, results = tmp_path / "deep" / "out.json", GOOD | {"success": value}
    assert conclude(EVAL, results, json_path=file, check=True) == status
    written = json.loads(file.read_text())
    assert written["per_skill"] == GOOD["per_skill"]
    assert written["machine"]["cores"] >= 1
    text = capsys.readouterr().out
    assert ("SHORT  success: must be at least 0.93, is 0.5" in text) == bool(status)
    assert conclude(EVAL, results) == 0
