from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vla_ros.core.errors import EngineError
from vla_ros.engine.engine import Graph
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


def test_engines_take_turns_and_the_first_inferences_of_a_turn_do_not_count(
    convolutions: Path, images: Rows
) -> None:
    from vla_ros.engine.choice import EngineChoice, open_engine

    engines = {name: open_engine(Graph(path=convolutions), EngineChoice()) for name in "ab"}
    times = measure(engines, images, rounds=3)
    assert {name: len(each) for name, each in times.items()} == {
        "a": 3 * IN_A_ROW,
        "b": 3 * IN_A_ROW,
    }
