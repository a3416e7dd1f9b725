"""The bench that measures on a GPU: it runs without one where it is told to, and else says so."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[3]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "bench/gpu.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_nothing_is_measured_and_it_says_why() -> None:
    done = _run()
    assert done.returncode == 2
    assert "no NVIDIA GPU can be used here" in done.stderr
    assert "docs/reference/gpu.md" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_on_a_cpu_every_model_runs_in_small(tmp_path: Path) -> None:
    done = _run(
        *("--device", "cpu", "--small", "--rounds", "3"),
        *("--only", "torch eager,onnxruntime", "--json", str(tmp_path / "gpu.json")),
    )
    assert done.returncode == 0, done.stderr
    models = json.loads((tmp_path / "gpu.json").read_text())["models"]
    assert set(models) == {"tabletop-small", "SmolVLA-small", "pi0-small"}
    for name, found in models.items():
        rows = found["backends"]
        assert set(rows) == {"torch eager", "onnxruntime"}, name
        for backend, row in rows.items():
            assert 0 < row["p50_ms"] <= row["p99_ms"] <= row["max_ms"], (name, backend, row)
            assert row["times_eager"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_backend_that_cannot_run_leaves_its_reason_in_the_table(tmp_path: Path) -> None:
    done = _run(
        *("--device", "cpu", "--rounds", "1", "--models", "policy", "--only", "onnxruntime"),
        *("--engines", "onnxruntime,onnxruntime:cuda", "--json", str(tmp_path / "gpu.json")),
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "gpu.json").read_text())["models"].values()
    assert "p50_ms" in found["backends"]["onnxruntime"]
    assert "CUDAExecutionProvider" in found["backends"]["onnxruntime:cuda"]["reason"]


def test_the_shapes_have_as_many_parameters_as_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    models = importlib.import_module("vla_models")
    shapes = importlib.import_module("vla_shapes")
    with torch.device("meta"):
        smolvla = models.VisionLanguageAction(shapes.SMOLVLA)
        pi0 = models.VisionLanguageAction(shapes.PI0)
    count = models.count_parameters
    assert count(smolvla.expert) == pytest.approx(98e6, rel=0.05)  # the paper says 100 M
    assert count(smolvla) == pytest.approx(450e6 - 49280 * 960 * 2, rel=0.05)  # less both tables
    assert count(pi0.expert) == pytest.approx(300e6, rel=0.05)
    assert count(pi0) == pytest.approx(3.3e9 - 257152 * 2048, rel=0.05)  # less the table
