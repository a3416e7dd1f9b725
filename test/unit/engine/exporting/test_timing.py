from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vla_ros.core.errors import EngineError, InferenceFailed
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.engine import Arrays, Engine, EngineDescription, Graph
from vla_ros.engine.exporting.timing import IN_A_ROW, measure, time_backends

Rows = list[dict[str, np.ndarray]]


def test_a_graph_of_its_own_is_timed_on_what_can_run_it_and_the_others_say_why_not(
    convolutions: Path, images: Rows
) -> None:
    found = time_backends({"small": Graph(path=convolutions)}, images, threads=1, rounds=2)
    names = [each.description.backend for each in found.found]
    assert "onnxruntime" in names
    assert "torch" not in names
    assert "this graph belongs to none" in found.absent["torch"]
    assert "remote" not in {*names, *found.absent}
    assert found.fastest.median_ms == min(each.median_ms for each in found.found)
    assert all(0 < each.median_ms <= each.p95_ms for each in found.found)


def test_a_graph_that_nothing_runs_is_an_error(tmp_path: Path, images: Rows) -> None:
    with pytest.raises(EngineError, match=r"nothing\.onnx"):
        time_backends({"small": Graph(path=tmp_path / "nothing.onnx")}, images, threads=1)


class FailsLater:
    """An engine that answers a few times, and then no more."""

    def __init__(self, inner: Engine, answers: int) -> None:
        self._inner, self._answers = inner, answers

    def describe(self) -> EngineDescription:
        return self._inner.describe()

    def warm_up(self) -> None:
        self._inner.warm_up()

    def infer(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        self._answers -= 1
        if self._answers < 0:
            raise InferenceFailed("the device is gone")
        return self._inner.infer(inputs, outputs)

    def close(self) -> None:
        self._inner.close()


def test_an_engine_that_fails_while_it_is_timed_has_no_time_and_says_why(
    convolutions: Path, images: Rows
) -> None:
    whole = open_engine(Graph(path=convolutions), EngineChoice())
    failures: dict[str, str] = {}
    times = measure({"a": whole, "b": FailsLater(whole, 12)}, images, 3, failures)
    assert len(times["a"]) == 3 * IN_A_ROW
    assert times["b"] == []
    assert failures == {"b": "the device is gone"}


def test_engines_take_turns_and_the_first_inferences_of_a_turn_do_not_count(
    convolutions: Path, images: Rows
) -> None:
    engines = {name: open_engine(Graph(path=convolutions), EngineChoice()) for name in "ab"}
    times = measure(engines, images, rounds=3)
    assert {name: len(each) for name, each in times.items()} == {
        "a": 3 * IN_A_ROW,
        "b": 3 * IN_A_ROW,
    }
