from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vla_ros.core.errors import UserError
from vla_ros.engine.exporting.observations import RecordedInputs, Recording


def recorded(count: int) -> RecordedInputs:
    recording = Recording()
    memory = np.zeros((1, 2), np.float32)
    for index in range(count):
        memory[:] = index  # the same memory each time, as a policy has it
        recording.add("policy.onnx", {"state": memory, "other": memory}, ["state"])
    return recording.finish({"seeds": [1, 2]})


def test_inputs_are_copied_when_they_are_recorded() -> None:
    rows = recorded(3).rows("policy.onnx")
    assert [row["state"][0, 0] for row in rows] == [0.0, 1.0, 2.0]
    assert rows[0]["state"].shape == (1, 2)
    assert list(rows[0]) == ["state"]


def test_fewer_rows_are_spread_over_all() -> None:
    rows = recorded(11).rows("policy.onnx", 3)
    assert [row["state"][0, 0] for row in rows] == [0.0, 5.0, 10.0]


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    recorded(9).save(tmp_path / "deep" / "recorded.npz")
    found = RecordedInputs.load(tmp_path / "deep" / "recorded.npz")
    assert found.about == {"seeds": [1, 2]}
    assert found.count("policy.onnx") == 9
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["recorded.npz"]


def test_a_file_that_is_missing_or_something_else_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.npz: no such file"):
        RecordedInputs.load(tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text("")
    with pytest.raises(UserError, match=r"text\.npz: holds no recorded observations"):
        RecordedInputs.load(tmp_path / "text.npz")


def test_recordings_of_another_policy_or_too_few_are_refused() -> None:
    with pytest.raises(UserError, match=r"hold no cloud of policy\.onnx"):
        recorded(20).require("policy.onnx", ["state", "cloud"], "int8")
    with pytest.raises(UserError, match=r"hold 2 of policy\.onnx; int8 needs 8 at least"):
        recorded(2).require("policy.onnx", ["state"], "int8")
    with pytest.raises(UserError, match=r"hold no state of policy\.onnx"):
        RecordedInputs(graphs={}).require("policy.onnx", ["state"], "int8")
