"""Two builds of ONNX Runtime in one environment are found and named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vla_ros.core.errors import EngineError
from vla_ros.engine.backends.onnxruntime_engine import load
from vla_ros.engine.conflicts import describe_conflict
from vla_ros.engine.engine import EngineOptions, Graph
from vla_ros.testing.small_graph import write_small_graph

Environment = Path


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment without packages, in place of this one."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def install(environment: Environment, name: str, version: str) -> None:
    """Leave what pip leaves of a package: its metadata."""
    folder = environment / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (folder / "METADATA").write_text(text)


def test_one_build_or_none_is_no_conflict(environment: Environment) -> None:
    assert describe_conflict() == ""
    install(environment, "onnxruntime-gpu", "1.31.1")
    assert describe_conflict() == ""


def test_both_builds_are_named_with_the_fix(environment: Environment) -> None:
    install(environment, "onnxruntime", "1.32.0")
    install(environment, "onnxruntime-gpu", "1.31.1")
    said = describe_conflict()
    assert said.startswith("onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 are both installed")
    assert "`pip uninstall onnxruntime onnxruntime-gpu`" in said
    assert "`pip install onnxruntime-gpu` for an NVIDIA GPU" in said


def test_this_environment_has_no_conflict() -> None:
    assert describe_conflict() == ""


def test_the_backend_does_not_run_on_two_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Graph(path=write_small_graph(tmp_path / "small.onnx"))
    (tmp_path / "packages").mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "packages")])
    load(graph, EngineOptions()).close()
    install(tmp_path / "packages", "onnxruntime-gpu", "1.31.1")
    with pytest.raises(EngineError, match=r"onnxruntime-gpu 1\.31\.1 are both installed"):
        load(graph, EngineOptions())
