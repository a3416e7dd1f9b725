"""Starts the processes that train together on this machine, as `accelerate launch` would."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import TypeVar

from vla_ros.core.processes import FOLLOW_PARENT, follow_parent

#: How long the others may go on after one has failed [s]: they notice, and the main one says why.
GRACE_S = 10.0

#: Exit status of a process that was killed, less the signal's number.
KILLED = 128

T = TypeVar("T")


def run_processes(count: int, work: Callable[[T], int], argument: T) -> int:
    """Run `work(argument)` in `count` processes that find each other; return the exit status.

    Ctrl-C is left to them. A process that fails takes the others with it.

    Args:
        count: How many.
        work: Function of a module; its result is the process's exit status.
        argument: Is pickled.
    """
    context = multiprocessing.get_context("spawn")
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    children = [
        context.Process(target=_work, args=(rank, count, meeting, work, argument))
        for rank in range(count)
    ]
    with _leaving_interrupts():
        with _quiet_torch():
            for child in children:
                child.start()
        try:
            _wait_for(children)
            failed = [child.exitcode for child in children if child.exitcode]
        finally:
            for child in children:
                if child.is_alive():
                    child.kill()
                child.join()
    status = failed[0] if failed else 0
    return status if status >= 0 else KILLED - status


def _work(
    rank: int, count: int, meeting: dict[str, str], work: Callable[[T], int], argument: T
) -> None:
    """Be one of the processes."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ.update({**meeting, **{name: str(value) for name, value in place.items()}})
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # they all are on this machine
    os.environ[FOLLOW_PARENT] = "1"
    follow_parent()
    sys.exit(work(argument))


def _wait_for(children: list[SpawnProcess]) -> None:
    """Return when all have ended, or some time after one has failed."""
    running = list(children)
    patience: float | None = None
    while running:
        ended = wait([child.sentinel for child in running], patience)
        if not ended:
            return
        for child in running:
            if child.sentinel in ended:
                child.join()  # a sentinel may tell before there is an exit status
                if child.exitcode:
                    patience = GRACE_S
        running = [child for child in running if child.sentinel not in ended]


@contextmanager
def _leaving_interrupts() -> Iterator[None]:
    """Do nothing at Ctrl-C, which the children get as well."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _quiet_torch() -> Iterator[None]:
    """Keep torch from warning in every process that it looks for parameters without a gradient.

    The eyes have none where the hand is trained alone. It reads the variable when it is imported.
    """
    name = "TORCH_CPP_LOG_LEVEL"
    if name in os.environ:
        yield
        return
    os.environ[name] = "ERROR"
    try:
        yield
    finally:
        del os.environ[name]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
