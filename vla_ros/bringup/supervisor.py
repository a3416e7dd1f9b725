"""Runs the processes of a graph: starts, restarts, stops them, and passes on what they say."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence

from vla_ros.bringup.graph import NodeDescription, default_environment
from vla_ros.bringup.restarts import FailureCount
from vla_ros.core.conventions import EXIT_CONFIGURATION
from vla_ros.core.processes import FOLLOW_PARENT

#: How long a node may take to end after SIGINT, and then after SIGTERM [s].
PATIENCE_S = (5.0, 2.0)

#: Called with the node's name and one line of what it says; the name is "" for the supervisor.
Listener = Callable[[str, str], None]


def child_environment(base: Mapping[str, str], description: NodeDescription) -> dict[str, str]:
    """Return the environment of a node.

    The wheels' two variables are passed on together, being in `base` together or not at all.
    """
    environment = {**default_environment(base), **base, **description.environment}
    environment[FOLLOW_PARENT] = "1"
    environment["PYTHONUNBUFFERED"] = "1"
    environment["RCUTILS_COLORIZED_OUTPUT"] = "0"
    environment["RCUTILS_CONSOLE_OUTPUT_FORMAT"] = "[{severity}] {message}"
    return environment


class Supervisor:
    """Keeps the nodes of a graph running until it is told to stop."""

    def __init__(self, graph: Sequence[NodeDescription], listener: Listener) -> None:
        """Run `graph`; whatever happens is told to `listener`."""
        self._graph = tuple(graph)
        self._say = listener
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._active: set[str] = set()
        self._status = 0

    def run(self) -> int:
        """Run until SIGINT or SIGTERM, or until a node cannot go on; return the exit status."""
        return asyncio.run(self._run())

    async def _run(self) -> int:
        self._stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)
        keepers = [asyncio.create_task(self._keep(item)) for item in self._graph]
        for keeper in keepers:
            keeper.add_done_callback(lambda _: self._stopping.set())
        await self._stopping.wait()
        self._say("", "stopping")
        await self._stop_all()
        await asyncio.gather(*keepers)
        self._say("", f"stopped, exit status {self._status}")
        return self._status

    async def _keep(self, item: NodeDescription) -> None:
        """Start a node, and again whenever it ends by itself."""
        count = FailureCount(item.restart)
        while not self._stopping.is_set():
            count.begin()
            status = await self._live(item)
            self._active.discard(item.name)
            if self._stopping.is_set():
                return
            if status == EXIT_CONFIGURATION:
                self._give_up(item, status)
                return
            failures = count.fail()
            if failures > item.restart.limit:
                self._say("", f"{item.name} failed {failures} times in a row: giving up")
                self._give_up(item, status)
                return
            delay_s = item.restart.delay_s * 2 ** (failures - 1)
            self._say("", f"{item.name} {_ending(status)}; it starts again in {delay_s:g} s")
            await self._pause(delay_s)

    async def _live(self, item: NodeDescription) -> int:
        """Run a node once and return its exit status."""
        process = await asyncio.create_subprocess_exec(
            *item.command(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=child_environment(os.environ, item),
            limit=1 << 20,
            start_new_session=True,  # a Ctrl-C comes to the supervisor, which passes it on
        )
        self._processes[item.name] = process
        if self._stopping.is_set():  # it came while the others were told to end
            _send(process, signal.SIGTERM)
        self._say("", f"{item.name}: process {process.pid}")
        assert process.stdout is not None
        async for line in process.stdout:
            self._hear(item.name, line.decode(errors="replace").rstrip())
        return await process.wait()

    def _hear(self, name: str, line: str) -> None:
        self._say(name, line)
        if line != "[INFO] active":
            return
        everybody_was = len(self._active) == len(self._graph)
        self._active.add(name)
        if not everybody_was and len(self._active) == len(self._graph):
            self._say("", "ready")

    def _give_up(self, item: NodeDescription, status: int) -> None:
        """End the graph, which cannot work without one of its nodes."""
        self._say("", f"{item.name} {_ending(status)}: the graph ends")
        self._status = status if status > 0 else 1
        self._stopping.set()

    async def _pause(self, delay_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay_s)

    async def _stop_all(self) -> None:
        """Interrupt every node, and be less polite to those that do not listen."""
        for number, patience_s in zip((signal.SIGINT, signal.SIGTERM), PATIENCE_S, strict=True):
            running = {n: p for n, p in self._processes.items() if p.returncode is None}
            for name, process in running.items():
                # one that is still importing would answer SIGINT with a traceback
                _send(process, number if name in self._active else signal.SIGTERM)
            waiting = list(running.values())
            if waiting:
                await asyncio.wait(
                    [asyncio.create_task(process.wait()) for process in waiting],
                    timeout=patience_s,
                )
        for name, process in self._processes.items():
            if process.returncode is None:
                self._say("", f"{name} does not end: killing it")
                self._status = self._status or 1
                _send(process, signal.SIGKILL)


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
        process.send_signal(number)


def _ending(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
