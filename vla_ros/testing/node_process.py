"""A node of the graph as a process of its own, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

from vla_ros.bringup.graph import NodeDescription
from vla_ros.bringup.supervisor import child_environment
from vla_ros.testing.waiting import wait_for


class NodeProcess:
    """One node process and its output."""

    def __init__(self, description: NodeDescription) -> None:
        """Start the node."""
        self.name = description.name
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            description.command(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=child_environment(os.environ, description),
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def output(self) -> str:
        """Everything the node has said."""
        return "\n".join(self.lines)

    @property
    def status(self) -> int | None:
        """Exit status; None while it runs."""
        return self._process.poll()

    def wait_active(self, timeout_s: float = 30.0) -> NodeProcess:
        """Return this when the node is active.

        Raises:
            AssertionError: with its output, if it ends or is not active after `timeout_s` [s].
        """
        wait_for(
            lambda: "[INFO] active" in self.lines or self.status is not None,
            f"{self.name} to become active; it said:\n{self.output}",
            timeout_s,
        )
        if self.status is not None:
            raise AssertionError(f"{self.name} ended with {self.status}:\n{self.output}")
        return self

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self, timeout_s: float = 10.0) -> int:
        """Interrupt the node, wait for it, and return its exit status.

        Raises:
            AssertionError: if it does not end within `timeout_s` [s].
        """
        if self.status is None:
            self.signal(signal.SIGINT)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 10.0) -> int:
        """Wait for the node to end by itself and return its exit status.

        Raises:
            AssertionError: if it does not end within `timeout_s` [s].
        """
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            self._process.kill()
            raise AssertionError(f"{self.name} did not end:\n{self.output}") from error
        finally:
            self._reader.join()
        return status

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip())
