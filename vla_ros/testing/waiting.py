"""Waiting on a condition with a deadline; tests never sleep and hope."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_for(condition: Callable[[], Value], what: str, timeout_s: float = 15.0) -> Value:
    """Return the first true value of `condition`.

    Raises:
        AssertionError: if there is none within `timeout_s` [s]; says `what` was waited for.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        threading.Event().wait(0.01)
    raise AssertionError(f"waited {timeout_s} s for {what}")


def happens(condition: Callable[[], object], within_s: float) -> bool:
    """Return whether `condition` becomes true within some time [s]."""
    try:
        wait_for(condition, "it to happen", within_s)
    except AssertionError:
        return False
    return True


def never(condition: Callable[[], object], what: str, for_s: float) -> None:
    """Watch that `condition` stays false for `for_s` [s].

    Raises:
        AssertionError: with `what`, as soon as it becomes true.
    """
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        if condition():
            raise AssertionError(what)
        threading.Event().wait(0.01)
