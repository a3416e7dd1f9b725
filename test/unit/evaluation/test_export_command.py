from __future__ import annotations

import json
from pathlib import Path

import pytest

from vla_ros.cli.app import main
from vla_ros.engine.exporting.observations import RecordedInputs
from vla_ros.policy.bundle import GRAPH, Bundle


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["export", *arguments])
    assert ended.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_a_bundle_is_exported_without_playing(
    untrained_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "made"
    with pytest.raises(SystemExit) as ended:
        main(["export", str(untrained_bundle), str(output), "--episodes", "0", "--rounds", "1"])
    assert ended.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Success in simulation was not measured (--episodes 0)." in printed
    assert "fastest here" in printed
    assert Bundle.open(output).export["precision"] == "fp32"


def test_int8_is_refused_where_nothing_is_played_and_no_file_is_named(
    untrained_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "made"
    said = refused(
        [str(untrained_bundle), str(output), "--precision", "int8", "--episodes", "0"], capsys
    )
    assert "--precision int8 is calibrated on recorded observations, and there are none" in said
    assert not output.exists()


def test_calibration_files_that_are_missing_or_empty_are_refused(
    untrained_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    into = [str(untrained_bundle), str(tmp_path / "made"), "--precision", "int8"]
    said = refused([*into, "--calibration", str(tmp_path / "no.npz")], capsys)
    assert "no.npz: no such file of recorded observations" in said
    RecordedInputs(graphs={}).save(tmp_path / "empty.npz")
    said = refused([*into, "--calibration", str(tmp_path / "empty.npz")], capsys)
    assert "the recorded observations hold no" in said


def test_what_the_target_cannot_do_is_said_before_anything_is_played(
    untrained_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused([str(untrained_bundle), str(tmp_path / "made"), "--precision", "bf16"], capsys)
    assert "--target onnx does not compute in bf16, only in fp32, fp16 or int8" in said


def test_options_of_checkpoints_are_refused_for_bundles_and_a_missing_source_is_named(
    untrained_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--name and --language are for checkpoints" in refused(
        [str(untrained_bundle), "--name", "mine"], capsys
    )
    assert "nothing.pt: no such file" in refused([str(tmp_path / "nothing.pt")], capsys)


def test_options_that_would_be_ignored_are_refused(
    untrained_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = ["--record", str(tmp_path / "kept.npz")]
    said = refused([str(untrained_bundle), *kept, "--episodes", "0"], capsys)
    assert "with --episodes 0 nothing is; leave out one of the two" in said
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(b"")
    said = refused([str(checkpoint), str(tmp_path / "made"), "--precision", "int8"], capsys)
    assert "a training checkpoint becomes a bundle in fp32" in said


def test_engines_for_gpus_that_are_not_here_are_built_and_verified(
    untrained_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorrt_rtx")
    from vla_ros.engine.tensorrt.metadata import check_engine, read_metadata

    output = tmp_path / "made"
    arguments = ["export", str(untrained_bundle), str(output), "--target", "tensorrt-rtx"]
    arguments += ["--episodes", "0", "--rounds", "1"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--compute-capability", "SM86,SM89,SM120"])
    assert ended.value.code == 0
    files = json.loads((output / "report.json").read_text())["engines"]
    assert {(each["graph"], each["device"].split()[0]) for each in files} == {
        (graph, device)
        for graph in ("policy", "grounding")
        for device in ("SM86", "SM89", "SM120")
    }
    for each in files:
        found = read_metadata(output / each["path"])
        check_engine(output / each["path"], found.key)
        graph = f"{each['graph']}.onnx"
        assert found.key.graph_sha256 == Bundle.open(output).files[graph]
    assert "What was built cannot run here" in " ".join(capsys.readouterr().out.split())
    assert GRAPH in Bundle.open(output).files


def test_engines_for_a_number_of_robots_that_nothing_asks_for_are_not_built(
    untrained_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(untrained_bundle), str(tmp_path / "made"), "--target", "tensorrt-rtx"]
    said = refused([*arguments, "--episodes", "0", "--robots", "8"], capsys)
    assert "--robots 8: an engine serves 1, as a robot has it, or up to 32" in said
