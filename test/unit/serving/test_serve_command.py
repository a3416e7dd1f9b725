"""`vla_ros serve`, as far as it gets without a server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def serve(*arguments: str, without: str = "") -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; sys.modules[{without!r}] = None; "
        f"from vla_ros.cli.app import main; main(['serve', *{arguments!r}])"
    )
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=100.0, check=False)


def test_without_ray_it_says_how_to_install_it(language_files: Path) -> None:
    done = serve(str(language_files), without="ray")
    assert done.returncode == 2
    assert "serving needs Ray Serve" in done.stderr
    assert "requirements/serve.txt" in done.stderr


def test_what_is_no_bundle_is_refused_before_ray_is_asked_for(tmp_path: Path) -> None:
    done = serve(str(tmp_path), without="ray")
    assert done.returncode == 2
    assert "bundle.json: is missing" in done.stderr


def test_two_bundles_are_one_too_many() -> None:
    done = serve("a", "b", without="ray")
    assert done.returncode == 2
    assert "expected BUNDLE, or update BUNDLE, got a b" in done.stderr


def test_an_update_takes_no_other_settings() -> None:
    done = serve("update", "a", "--threads", "2", "--replica-gpus", "1", without="ray")
    assert done.returncode == 2
    assert "serve update takes no --threads, --replica-gpus" in done.stderr
