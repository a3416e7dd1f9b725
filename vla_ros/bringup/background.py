"""A graph under `vla_ros up` in a process of its own, for commands that need one for a while."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from vla_ros.core.errors import UserError
from vla_ros.core.processes import FOLLOW_PARENT

READY = "graph ready"
#: A line of the log that is about a node, and not of one.
ABOUT = re.compile(r"^\S+ +graph (.*)$")
#: Lines of the log that an error message repeats.
LAST_LINES = 12


class BackgroundGraph:
    """Context manager around a running graph; its log goes to a file.

    The graph has a session of its own, so that a Ctrl-C comes to the caller alone, and it ends
    with the caller even if that is killed.
    """

    def __init__(self, arguments: Sequence[str], *, log: Path, domain: int) -> None:
        """Start `vla_ros up` with `arguments` in a ROS domain.

        Args:
            arguments: Of `vla_ros up`, for example ("sim", "--seed", "7").
            log: File for everything that the nodes say.
            domain: ROS_DOMAIN_ID of the nodes.
        """
        self.log, self._read = log, 0
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        log.chmod(0o600)  # it may tell the token of operators on the network
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vla_ros.cli.app", "up", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    **os.environ,
                    "ROS_DOMAIN_ID": str(domain),
                    "COLUMNS": "300",
                    FOLLOW_PARENT: "1",
                },
            )

    def __enter__(self) -> BackgroundGraph:
        """Return this."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the graph."""
        self.stop()

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Return when every node is active.

        Raises:
            UserError: with the end of the log, if a node cannot go on or time is up.
        """
        deadline = time.monotonic() + timeout_s
        while READY not in (text := self.log.read_text(errors="replace")):
            ended = self._process.poll()
            if ended is not None or time.monotonic() > deadline:
                why = (
                    f"is not ready after {timeout_s:g} s"
                    if ended is None
                    else f"ended with status {ended}"
                )
                last = "\n".join(text.splitlines()[-LAST_LINES:])
                raise UserError(f"the graph {why}; its log, {self.log}, ends with\n{last}")
            time.sleep(0.05)

    @property
    def status(self) -> int | None:
        """Exit status of the graph; None while it runs."""
        return self._process.poll()

    def news(self) -> list[str]:
        """Return what has happened to the nodes since this was asked last: crashes, restarts."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            lines = log.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()  # it is still being written
        self._read += sum(map(len, lines))
        found = (ABOUT.match(line.decode(errors="replace").rstrip()) for line in lines)
        return [item.group(1) for item in found if item]

    def find(self, pattern: re.Pattern[str]) -> str:
        """Return what the first group of a pattern found last in the log; "" if it did not."""
        found = pattern.findall(self.log.read_text(errors="replace"))
        return str(found[-1]) if found else ""

    def stop(self) -> None:
        """End the graph as Ctrl-C would, and by force if that does not help."""
        for number, patience_s in ((signal.SIGINT, 12.0), (signal.SIGKILL, 5.0)):
            if self._process.poll() is not None:
                return
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
