"""Keeps inference on chosen CPUs: what else runs there, and what runs it, is then known."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vla_ros.core.errors import EngineError


def parse_cpus(text: str) -> tuple[int, ...]:
    """Return the CPUs that a parameter names: numbers from 0 with commas between; "" for none.

    Raises:
        EngineError: if one is no number, is named twice, or is not there.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    try:
        cpus = tuple(int(name) for name in names)
    except ValueError as error:
        raise EngineError(
            f"cpus: expected numbers from 0 with commas between, such as 2,3; got '{text}'"
        ) from error
    if not cpus:
        return ()
    if not hasattr(os, "sched_getaffinity"):
        raise EngineError("cpus: threads cannot be pinned on this system; leave it empty")
    there = os.sched_getaffinity(0)
    if len(set(cpus)) < len(cpus) or not set(cpus) <= there:
        listed = ",".join(str(cpu) for cpu in sorted(there))
        raise EngineError(f"cpus: expected some of {listed}, each once; got '{text}'")
    return cpus


def pin_thread(cpus: Sequence[int]) -> None:
    """Keep the calling thread on some CPUs, and the threads that it will start; none: anywhere."""
    if cpus:
        os.sched_setaffinity(0, cpus)


@contextmanager
def pinned(cpus: Sequence[int]) -> Iterator[None]:
    """Keep the calling thread on some CPUs for a while: what a library starts then stays there."""
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
