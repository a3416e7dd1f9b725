"""Inference stays on the CPUs that were named."""

from __future__ import annotations

import os
import threading

import pytest

from vla_ros.core.errors import EngineError
from vla_ros.engine.pinning import parse_cpus, pin_thread, pinned

HERE = sorted(os.sched_getaffinity(0))


def test_nothing_named_is_nothing_pinned() -> None:
    assert parse_cpus("") == parse_cpus(" , ") == ()
    with pinned(()):
        assert sorted(os.sched_getaffinity(0)) == HERE


def test_cpus_are_read_in_the_order_in_which_they_are_named() -> None:
    text = ", ".join(str(cpu) for cpu in reversed(HERE))
    assert parse_cpus(text) == tuple(reversed(HERE))


@pytest.mark.parametrize("text", ["two", "1.5", "9999", f"{HERE[0]},{HERE[0]}", "-1"])
def test_a_cpu_that_is_not_there_is_refused_with_those_that_are(text: str) -> None:
    with pytest.raises(EngineError, match="cpus: expected"):
        parse_cpus(text)


def test_a_thread_that_is_started_while_pinned_stays_there() -> None:
    go, seen = threading.Event(), []

    def work() -> None:
        go.wait(10.0)
        seen.append(os.sched_getaffinity(0))

    with pinned(HERE[:1]):
        thread = threading.Thread(target=work)
        thread.start()
    assert sorted(os.sched_getaffinity(0)) == HERE
    go.set()
    thread.join(10.0)
    assert seen == [{HERE[0]}]


def test_a_pinned_thread_leaves_the_others_alone() -> None:
    seen = []

    def work() -> None:
        pin_thread(HERE[-1:])
        seen.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10.0)
    assert seen == [{HERE[-1]}]
    assert sorted(os.sched_getaffinity(0)) == HERE
