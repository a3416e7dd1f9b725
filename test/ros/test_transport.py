from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "transport.py"


@pytest.mark.slow
def test_large_frames_arrive_with_the_profile_and_without_it_loss_and_cure_are_named(
    tmp_path: Path,
) -> None:
    file = tmp_path / "transport.json"
    command = [sys.executable, str(BENCH), "--seconds", "8", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(file.read_text(encoding="utf-8"))
    assert results["with_profile"]["delivered"] >= 0.95  # the bench alone demands 0.995
    assert results["with_profile"]["diagnostics"] == {}
    assert results["without_profile"]["loss_named"]
    assert results["without_profile"]["cure_named"]
