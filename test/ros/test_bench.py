"""`vla_ros bench`: real messages through the nodes' own code, every backend, and bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vla_ros.cli import app, bench
from vla_ros.cli.bench_tables import MEANINGS, TOTALS, least_ms
from vla_ros.cli.musts import Musts
from vla_ros.cli.path_measurement import PathOptions, measure_path, read_size
from vla_ros.cli.stage_times import AFTER, BEFORE, STAGES
from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path
from vla_ros.engine.choice import backends
from vla_ros.engine.machine_peak import MachinePeak

BUNDLE = resource_path("models/tabletop-small")
TICKS = 5
COLOURS, DEPTH = "observation.images.front", "observation.depth.wrist"


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """Four images of 320 x 240 px per frame, around the shipped policy."""
    done: list[int] = []
    result = measure_path(PathOptions(bundle=BUNDLE, images=(320, 240), ticks=TICKS), done.append)
    assert done == list(range(1, TICKS + 1)), "progress is told after each frame"
    return result


def test_every_stage_and_every_graph_is_timed(measured: dict[str, Any]) -> None:
    assert list(measured["stages"]) == list(STAGES)
    assert set(measured["graphs"]) == {"policy.onnx", "grounding.onnx"}
    for name, times in {**measured["stages"], **measured["graphs"]}.items():
        assert 0.0 <= times["p50_ms"] <= times["p99_ms"] <= times["max_ms"], name
        assert times["p50_ms"] > 0.0 or name == "decode", name


def test_every_chunk_becomes_a_command(measured: dict[str, Any]) -> None:
    assert measured["chunks_taken"] == 1.0


def test_the_overhead_is_all_but_the_model(measured: dict[str, Any]) -> None:
    assert {*BEFORE, *AFTER} == {*STAGES} - {"infer"}
    least = sum(measured["stages"][name]["p50_ms"] for name in (*BEFORE, *AFTER))
    assert measured["overhead"]["max_ms"] >= 0.5 * least
    assert 0.0 < measured["overhead_work"]["p50_ms"] < 1.5 * measured["overhead"]["max_ms"]


def test_an_image_is_written_once_at_most_between_message_and_network(
    measured: dict[str, Any],
) -> None:
    found = measured["copies"]
    assert found[COLOURS] == {
        "message_bytes": 320 * 240 * 3,
        "copies": 1,
        "written_bytes": 128 * 128 * 3,
    }
    assert found[DEPTH]["copies"] == 1
    assert found[DEPTH]["written_bytes"] == 4 * 128 * 128


def test_memory_is_told(measured: dict[str, Any]) -> None:
    assert measured["memory"]["process_bytes"] > measured["memory"]["engine_bytes"] > 10 * 2**20


def test_images_of_the_bundles_own_size_are_not_copied_at_all() -> None:
    found = measure_path(PathOptions(bundle=BUNDLE, ticks=1))["copies"]
    assert all(each["copies"] == 0 for name, each in found.items() if "images" in name)
    assert all(each["copies"] == 0 for name, each in found.items() if "depth" in name)


def test_compressed_images_are_decoded_on_the_way() -> None:
    options = PathOptions(bundle=BUNDLE, images=(320, 240), ticks=TICKS, compressed=True)
    found = measure_path(options)
    assert found["images"][COLOURS] == "320x240 jpeg"
    assert found["stages"]["decode"]["p50_ms"] > 0.0
    assert found["chunks_taken"] == 1.0
    assert found["copies"][COLOURS]["copies"] == 2
    assert found["copies"][COLOURS]["message_bytes"] < 320 * 240


def test_musts_are_checked_against_what_the_bench_measures(measured: dict[str, Any]) -> None:
    musts = Musts.load("bench/engine.py --stages")
    lines = [line for line, _ in musts.verdicts(measured)]
    assert any("overhead" in line for line in lines)
    assert any("chunks_taken" in line for line in lines)
    slow = {**measured, "ticks": 400, "overhead": {"p50_ms": 4.01}}
    assert [line for line in musts.check(slow) if "overhead" in line]
    fast = {**measured, "ticks": 400, "overhead": {"p50_ms": 3.99}}
    assert not musts.check(fast)


def run(*arguments: str) -> None:
    app.build_app("bench")(args=["bench", *arguments], standalone_mode=False)


def test_every_backend_is_measured_or_listed_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results" / "bench.json"
    run(
        str(BUNDLE),
        "--backend",
        "onnxruntime,tensorrt,remote",
        "--ticks",
        "3",
        "--json",
        str(path),
    )
    results = json.loads(path.read_text())
    found = results["backends"]
    assert found["onnxruntime"]["ticks"] == 3
    assert "address" in found["remote"]["error"]
    assert found["tensorrt"].get("error", "TensorRT")
    assert results["peak"]["flops_per_s"] > 1e9
    assert results["model"]["policy.onnx"]["flops"] > 1e8
    assert results["machine"]["cores"] >= 1
    said = capsys.readouterr().out
    for word in ("callback", "policy.onnx", "not measured: remote: ", "docs/reference/engines.md"):
        assert word in said


def test_without_any_backend_that_runs_it_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="no backend could be measured"):
        run(str(BUNDLE), "--backend", "remote", "--ticks", "3")
    assert "not measured: remote" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/no/such/bundle",), "/no/such/bundle"),
        ((str(BUNDLE), "--images", "640"), "expected WIDTHxHEIGHT, 16 to 8192 px"),
        ((str(BUNDLE), "--images", "8x8"), "got '8x8'"),
        ((str(BUNDLE), "--images", "640x99999"), "got '640x99999'"),
        ((str(BUNDLE), "--threads", "0"), "threads: expected 1 or more, got 0"),
        ((str(BUNDLE), "--ticks", "-1"), "ticks: expected 1 or more, got -1"),
        ((str(BUNDLE), "--backend", "cray"), "backend: expected all, or some of onnxruntime"),
        ((str(BUNDLE), "--backend", ","), "backend: expected all"),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(threads: int) -> MachinePeak:
        raise AssertionError("nothing is to be measured")

    monkeypatch.setattr(bench, "measure_peak", measure)
    with pytest.raises(UserError) as caught:
        run(*arguments)
    assert said in str(caught.value)


def test_a_process_that_dies_is_told_apart_from_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    with pytest.raises(Exception, match="onnxruntime: its process ended early: ") as caught:
        bench.measure_aside(PathOptions(bundle=BUNDLE, ticks=1), lambda done: None)
    assert not isinstance(caught.value, UserError)


def test_a_library_that_talks_without_end_does_not_stop_the_measurement(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = 'import sys\nsys.stderr.write("x" * 1_000_000 + "\\nlast words\\n")\nprint("{odd")\n'
    (tmp_path / "sitecustomize.py").write_text(said)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    options = PathOptions(bundle=tmp_path / "none", ticks=1)
    with pytest.raises(UserError, match="none"):
        bench.measure_aside(options, lambda done: None)


def test_a_backend_that_takes_its_process_down_is_listed_like_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setattr(
        bench, "measure_peak", lambda threads: MachinePeak(threads=1, flops_per_s=1, bytes_per_s=1)
    )
    with pytest.raises(UserError, match="no backend could be measured"):
        run(str(BUNDLE), "--backend", "onnxruntime", "--ticks", "3")
    assert "not measured: onnxruntime: onnxruntime: its process ended early" in (
        capsys.readouterr().out
    )


def test_all_are_the_backends_that_are_offered() -> None:
    assert set(bench.chosen("all")) == set(backends())
    assert bench.chosen("onnxruntime:cuda, openvino") == ("onnxruntime:cuda", "openvino")


def test_every_stage_has_words_for_it() -> None:
    assert set(MEANINGS) == set(STAGES)
    assert set(TOTALS) == {"before", "after", "overhead", "overhead_work"}


def test_at_the_peak_a_graph_takes_as_long_as_its_products_or_its_memory() -> None:
    peak = MachinePeak(threads=1, flops_per_s=1e9, bytes_per_s=1e8)
    counted = {"flops": 2e6, "parameter_bytes": 1e5, "in_out_bytes": 0}
    assert np.isclose(least_ms(counted, peak), 2.0)
    assert np.isclose(least_ms(counted | {"parameter_bytes": 1e6}, peak), 10.0)


def test_sizes_are_read() -> None:
    assert read_size("640x480") == (640, 480)
    assert replace(PathOptions(bundle=BUNDLE), images=(640, 480)).images == (640, 480)
