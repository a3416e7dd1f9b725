"""A node of the graph, or a command, as a process of its own, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

from vla_ros.bringup.graph import NodeDescription
from vla_ros.bringup.supervisor import child_environment
from vla_ros.testing.waiting import wait_for


class RunningCommand:
    """A process and its output, line by line."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start `command`; `name` is what messages call it."""
        self.name = name
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=dict(environment),
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def output(self) -> str:
        """Everything it has said."""
        return "\n".join(self.lines)

    @property
    def status(self) -> int | None:
        """Exit status; None while it runs."""
        return self._process.poll()

    def wait_for_line(self, text: str, timeout_s: float = 30.0) -> str:
        """Return the newest line that holds `text`.

        Raises:
            AssertionError: with the output, if there is none after `timeout_s` [s].
        """

        def found() -> list[str]:
            return [line for line in list(self.lines) if text in line]

        try:
            wait_for(lambda: found() or self.status is not None, text, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{self.name} did not say {text!r}:\n{self.output}") from error
        if not found():
            raise AssertionError(f"{self.name} ended with {self.status}:\n{self.output}")
        return found()[-1]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self, timeout_s: float = 10.0) -> int:
        """Interrupt it, wait for it, and return its exit status.

        Raises:
            AssertionError: if it does not end within `timeout_s` [s].
        """
        if self.status is None:
            self.signal(signal.SIGINT)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 10.0) -> int:
        """Wait for it to end by itself and return its exit status.

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


class NodeProcess(RunningCommand):
    """One node of a graph."""

    def __init__(self, description: NodeDescription) -> None:
        """Start the node."""
        environment = child_environment(os.environ, description)
        super().__init__(description.name, description.command(), environment)

    def wait_active(self, timeout_s: float = 30.0) -> NodeProcess:
        """Return this when the node is active.

        Raises:
            AssertionError: with its output, if it ends or is not active after `timeout_s` [s].
        """
        self.wait_for_line("[INFO] active", timeout_s)
        return self


class GraphProcess(RunningCommand):
    """A whole graph under `vla_ros up`."""

    def __init__(self, *arguments: str) -> None:
        """Start `vla_ros up` with `arguments`."""
        command = [sys.executable, "-m", "vla_ros.cli.app", "up", *arguments]
        super().__init__("vla_ros up", command, {**os.environ, "COLUMNS": "300"})

    def wait_ready(self, timeout_s: float = 60.0) -> GraphProcess:
        """Return this when every node is active.

        Raises:
            AssertionError: with its output, if that is not so after `timeout_s` [s].
        """
        self.wait_for_line("graph ready", timeout_s)
        return self

    def node_pid(self, name: str) -> int:
        """Return the process id of the node `name` as it runs now."""
        return int(self.wait_for_line(f"graph {name}: process ").rpartition(" ")[2])
