from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from vla_ros.contract import load_contract
from vla_ros.core.errors import EngineError, UserError
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.exporting.export import Exported, export_bundle
from vla_ros.engine.exporting.observations import RecordedInputs
from vla_ros.engine.exporting.parity import ParityError
from vla_ros.engine.exporting.random_inputs import random_inputs
from vla_ros.engine.exporting.report import verdict, write_report
from vla_ros.engine.exporting.request import ExportRequest
from vla_ros.engine.exporting.timing import graph_of
from vla_ros.policy.bundle import GRAPH, GROUNDING, Bundle, file_sha256
from vla_ros.testing.observations import make_observation

MACHINE = {"cpu": "a CPU", "cores": 2}


def export(request: ExportRequest, recorded: RecordedInputs | None = None) -> Exported:
    return export_bundle(request, recorded, write_report(MACHINE))


@pytest.fixture(scope="module")
def recorded(untrained_bundle: Path) -> RecordedInputs:
    """Inputs as they are recorded, of random images."""
    rows = random_inputs(Bundle.open(untrained_bundle), count=10)
    graphs: dict[str, Mapping[str, Any]] = {
        name: {key: np.concatenate([row[key] for row in each]) for key in each[0]}
        for name, each in rows.items()
    }
    return RecordedInputs(graphs=graphs, about={"seeds": [1, 10]})


@pytest.fixture(scope="module")
def int8(
    untrained_bundle: Path, recorded: RecordedInputs, tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    output = tmp_path_factory.mktemp("export") / "small-int8"
    played: list[tuple[Path, Path]] = []

    def play(before: Path, after: Path) -> dict[str, Any]:
        played.append((before, after))
        Bundle.open(after)  # it is whole when it is played
        return {"episodes": 2, "before": 1.0, "after": 0.5}

    request = ExportRequest(source=untrained_bundle, output=output, precision="int8", rounds=1)
    made = export_bundle(request, recorded, write_report(MACHINE), play=play)
    assert len(played) == 1
    return made


def test_a_quantized_bundle_says_of_what_and_how_it_was_made(
    int8: Exported, untrained_bundle: Path
) -> None:
    parent, made = Bundle.open(untrained_bundle), Bundle.open(int8.request.output)
    assert made.name == "untrained-int8"
    assert made.export["parent_sha256"] == parent.sha256
    assert made.export["precision"] == "int8"
    assert made.export["calibration"]["recorded"] == {"seeds": [1, 10]}
    assert made.export["calibration"]["observations"] == 10
    assert set(made.files) == set(parent.files)
    assert made.files["policy.safetensors"] == parent.files["policy.safetensors"]


@pytest.mark.parametrize("name", [GRAPH, GROUNDING])
def test_engines_report_that_a_quantized_graph_computes_in_int8(int8: Exported, name: str) -> None:
    engine = open_engine(graph_of(int8.request.output, name), EngineChoice())
    assert engine.describe().precision == "int8"
    engine.close()


def test_a_quantized_bundle_runs_as_a_policy(int8: Exported) -> None:
    policy = BundlePolicy(int8.request.output)
    policy.start("lift the red cube")
    chunk = policy.infer(make_observation(load_contract("tabletop_sim")))
    assert np.isfinite(chunk.positions).all()


def test_the_report_tells_parity_success_and_which_engine_is_fastest_here(int8: Exported) -> None:
    folder = int8.request.output
    data = json.loads((folder / "report.json").read_text())
    text = (folder / "report.md").read_text()
    assert data["success"] == {"episodes": 2, "before": 1.0, "after": 0.5}
    assert "100.0 % before, 50.0 % after" in text
    assert data["graphs"][GRAPH]["parity"]["chunk"]["max_error"] > 0
    assert data["graphs"][GRAPH]["quantization"]["symmetric"] is False
    times = data["timings"][GRAPH]["found"]
    assert [each["median_ms"] for each in times] == sorted(each["median_ms"] for each in times)
    assert {("torch", "fp32"), ("onnxruntime", "fp32"), ("onnxruntime", "int8")} <= {
        (each["backend"], each["precision"]) for each in times
    }
    best = times[0]
    assert f"{best['backend']} in {best['precision']}" in data["fastest"]
    built = (best["backend"], best["bundle"]) == ("onnxruntime", "small-int8")
    assert ("NOT fastest" in data["fastest"]) is not built
    assert verdict(int8) in text
    assert "for every observation" in text
    assert "a CPU, 2 cores" in text


def test_fp32_is_the_same_within_rounding_and_says_what_it_was_compared_on(
    untrained_bundle: Path, tmp_path: Path
) -> None:
    made = export(ExportRequest(source=untrained_bundle, output=tmp_path / "fp32", rounds=1))
    for graph in made.graphs:
        assert max(each.max_error / max(1.0, each.scale) for each in graph.parity) <= 1e-4
        assert graph.simplification.nodes_after < graph.simplification.nodes_before
    text = (tmp_path / "fp32" / "report.md").read_text()
    assert "Observations: random inputs" in text
    assert "Success in simulation was not measured (--episodes 0)." in text


def test_bundles_whose_folders_have_one_name_are_both_timed(
    untrained_bundle: Path, tmp_path: Path
) -> None:
    output = tmp_path / untrained_bundle.name
    made = export(ExportRequest(source=untrained_bundle, output=output, rounds=1))
    assert made.bundle.directory == output
    timed = {each.bundle for each in made.timings[GRAPH].found}
    assert timed == {str(untrained_bundle), str(output)}


def test_what_played_for_the_engines_is_said() -> None:
    request = ExportRequest(
        source=Path("small"), output=Path("made"), target="tensorrt-rtx", precision="fp16"
    )
    assert request.backend == "tensorrt_rtx:fp16,prebuilt"
    assert request.graph_precision == "fp32"
    assert replace(request, precision="int8").graph_precision == "int8"
    assert replace(request, target="onnx").graph_precision == "fp16"


def spoil(bundle: Path) -> None:
    """Change a weight in the graph that acts, and not in the safetensors."""
    path = bundle / GRAPH
    model = onnx.load(path)
    tensor = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    values = numpy_helper.to_array(tensor) + np.float32(0.05)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)
    data = json.loads((bundle / "bundle.json").read_text())
    data["files"][GRAPH] = file_sha256(path)
    (bundle / "bundle.json").write_text(json.dumps(data))


def test_out_of_tolerance_the_worst_output_is_named_and_nothing_is_left(
    untrained_bundle: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "spoiled"
    shutil.copytree(untrained_bundle, bundle)
    spoil(bundle)
    with pytest.raises(ParityError, match="worst output '") as error:
        export(ExportRequest(source=bundle, output=tmp_path / "made", rounds=1))
    assert "policy.onnx in fp32 is not what torch computes" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["spoiled"]


def test_int8_without_observations_is_refused(untrained_bundle: Path, tmp_path: Path) -> None:
    request = ExportRequest(
        source=untrained_bundle, output=tmp_path / "made", precision="int8", rounds=1
    )
    with pytest.raises(EngineError, match="calibrated on recorded observations, and there are"):
        export(request)
    with pytest.raises(UserError, match="hold no "):
        export(request, RecordedInputs(graphs={}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("target", "precision", "said"),
    [
        ("onnx", "bf16", "only in fp32, fp16 or int8: .*--backend openvino:bf16"),
        ("onnx", "fp8", "only in fp32, fp16 or int8"),
        ("onnx", "int4", "'int4' does not exist; --target onnx computes in fp32, fp16 or int8"),
        ("tflite", "fp32", "'tflite' does not exist; choose onnx, tensorrt or tensorrt-rtx"),
    ],
)
def test_what_a_target_cannot_do_is_refused_with_what_it_can(
    untrained_bundle: Path, tmp_path: Path, target: str, precision: str, said: str
) -> None:
    request = ExportRequest(
        source=untrained_bundle, output=tmp_path / "made", target=target, precision=precision
    )
    with pytest.raises(EngineError, match=said):
        export(request)


def test_an_output_that_is_there_already_is_left_alone(
    untrained_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is there already; name another OUTPUT"):
        export(ExportRequest(source=untrained_bundle, output=tmp_path))
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_what_was_quantized_is_not_quantized_again(
    int8: Exported, recorded: RecordedInputs, tmp_path: Path
) -> None:
    request = ExportRequest(
        source=int8.request.output, output=tmp_path / "made", precision="int8", rounds=1
    )
    with pytest.raises(EngineError, match="computes in int8 already"):
        export(request, recorded)
