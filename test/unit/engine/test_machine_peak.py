"""What a machine can do is measured in a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from vla_ros.core.errors import EngineError
from vla_ros.engine.machine_peak import measure_peak


def test_any_machine_reaches_a_gigaflop_and_a_gigabyte_per_second() -> None:
    found = measure_peak(1)
    assert found.threads == 1
    assert found.flops_per_s > 1e9
    assert found.bytes_per_s > 1e9


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        (lambda: subprocess.CalledProcessError(1, "python", stderr="no numpy"), "no numpy"),
        (lambda: subprocess.TimeoutExpired("python", 1.0), "took longer than"),
    ],
)
def test_a_measurement_that_fails_says_why(
    monkeypatch: pytest.MonkeyPatch, fail: Callable[[], Exception], said: str
) -> None:
    def broken(*arguments: Any, **named: Any) -> None:
        raise fail()

    monkeypatch.setattr(subprocess, "run", broken)
    with pytest.raises(EngineError, match=said):
        measure_peak(1)
