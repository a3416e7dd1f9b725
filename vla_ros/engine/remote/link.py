"""A robot's connection to a server of graphs, kept up by a thread of its own."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from vla_ros.core.errors import EngineError, InferenceFailed
from vla_ros.engine.engine import EngineDescription, Graph
from vla_ros.engine.remote.address import Address
from vla_ros.engine.remote.messages import (
    MAX_BYTES,
    VERSION,
    MalformedMessage,
    pack,
    unpack,
    unpack_description,
    unpack_sequence,
)
from vla_ros.engine.remote.round_trips import RoundTrips

#: Waits before another attempt to connect, the first and the longest [s].
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 2.0
#: Longest wait for a connection and for the server's greeting [s].
OPEN_S = 3.0
#: A server that has not answered a ping for so long is gone [s].
PING_EVERY_S, PING_LATE_S = 2.0, 5.0

_log = logging.getLogger(__name__)


class Refused(Exception):
    """The server does not serve what is asked for."""


class Link:
    """Asks a server, and connects again by itself when the connection is lost.

    Its thread owns the socket and the event loop. Questions come from one other thread at a time,
    which never waits for longer than it says: not for an answer, not for a socket that is full.
    """

    def __init__(self, address: Address, graph: Graph) -> None:
        """Prepare to connect; nothing is sent yet."""
        self._address = address
        self._hello: dict[str, Any] = {
            "hello": VERSION,
            "graph": graph.sha256,
            "name": graph.path.name,
            "deadline_ms": 1e3 * address.deadline_s,
        }
        self._sha256 = graph.sha256
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[bytes]] = {}
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._sends: set[asyncio.Task[None]] = set()
        self._tried = threading.Event()
        self._thread = threading.Thread(target=self._run, name="remote engine", daemon=True)
        #: What the server's engine last said of itself; None before the first connection.
        self.description: EngineDescription | None = None
        #: Why there is no connection; "" while there is one.
        self.down = "not connected yet"
        self.connections = 0
        #: Whether the last attempt found a server that does not serve the graph.
        self.refused = False
        self.trips = RoundTrips()

    def open(self, *, may_wait: bool = False) -> None:
        """Connect, and hear what the server's engine says of itself.

        Args:
            may_wait: Whether a server that is not there yet is no error; it is tried on and on.

        Raises:
            EngineError: if there is no such server, or it does not serve the graph; says why.
        """
        self._thread.start()
        self._tried.wait(2 * OPEN_S + 1.0)
        if self.description is None and not (may_wait and not self.refused):
            reason = self.down
            self.close()
            raise EngineError(
                f"remote:{self._address.text}: {self._hello['name']}: {reason}; "
                "`vla_ros serve BUNDLE` starts a server"
            )
        if self.description is None:
            _log.warning("%s: %s; trying on", self._address.url, self.down)

    def ask(self, body: Mapping[str, Any], deadline_s: float) -> dict[str, Any]:
        """Return the answer to a question.

        Raises:
            InferenceFailed: if there is no connection, or no answer after `deadline_s` [s].
        """
        if self._socket is None:
            raise InferenceFailed(f"{self._address.url}: no connection: {self.down}")
        if self._sends:
            raise InferenceFailed(f"{self._address.url}: the server does not read what is sent")
        sequence, answer = next(self._numbers), Future[bytes]()
        self._waiting[sequence] = answer
        message = pack(sequence, body)
        began = time.monotonic()
        self.trips.send()
        self._loop.call_soon_threadsafe(self._begin_send, message, sequence)
        try:
            found = answer.result(deadline_s)
        except FutureTimeout:
            self.trips.miss(sequence)
            raise InferenceFailed(
                f"{self._address.url}: no answer within {1e3 * deadline_s:.0f} ms"
            ) from None
        finally:
            self._waiting.pop(sequence, None)
        self.trips.answer(time.monotonic() - began)
        try:
            return unpack(found)
        except MalformedMessage as error:
            raise InferenceFailed(f"{self._address.url}: answer: {error.reason}") from error

    def close(self) -> None:
        """Disconnect, and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(5.0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._keep_up())
        finally:
            self._loop.close()

    async def _keep_up(self) -> None:
        stop, wait_s = asyncio.create_task(self._stop.wait()), FIRST_WAIT_S
        while not self._stop.is_set():
            before = self.connections
            session = asyncio.create_task(self._connect())
            await asyncio.wait({session, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not session.done():
                session.cancel()
            self.refused, reason = await _outcome(session)
            self._hang_up(reason)
            if self.connections > before and not self._stop.is_set():
                wait_s = FIRST_WAIT_S
                _log.warning("%s: %s; connecting again", self._address.url, reason)
            self._tried.set()
            await asyncio.wait({stop}, timeout=wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    async def _connect(self) -> None:
        """Connect, greet, and take answers until the connection ends."""
        async with connect(
            self._address.url,
            compression=None,  # images do not shrink, and it costs milliseconds
            max_size=MAX_BYTES,
            open_timeout=OPEN_S,
            ping_interval=PING_EVERY_S,
            ping_timeout=PING_LATE_S,
            close_timeout=0.5,
            proxy=None,
        ) as socket:
            await socket.send(pack(0, self._hello))
            async with asyncio.timeout(OPEN_S):
                self.description = self._read_greeting(await socket.recv())
            if self.connections:
                _log.warning("%s: connected again", self._address.url)
            self.connections += 1
            self._socket, self.down = socket, ""
            self._tried.set()
            async for message in socket:
                self._take(message)

    def _read_greeting(self, message: str | bytes) -> EngineDescription:
        if isinstance(message, str):
            raise MalformedMessage("expected bytes, got text")
        greeting = unpack(message)
        if "refused" in greeting:
            raise Refused(str(greeting["refused"]))
        if greeting.get("hello") != VERSION:
            raise MalformedMessage(
                f"expected a greeting of protocol {VERSION}, got {greeting.get('hello')!r:.40}"
            )
        description = unpack_description(greeting.get("description"))
        if description.sha256 != self._sha256:
            raise Refused(
                f"it serves the graph {description.sha256[:12]}…, this robot's is "
                f"{self._sha256[:12]}…; give both the same bundle"
            )
        return description

    def _take(self, message: str | bytes) -> None:
        """Give an answer to whoever waits for it; one for which nobody waits is dropped."""
        if isinstance(message, str):
            raise MalformedMessage("expected bytes, got text")
        sequence = unpack_sequence(message)
        answer = self._waiting.pop(sequence, None)
        if answer is None:
            self.trips.come_late(sequence)
        else:
            answer.set_result(message)

    def _begin_send(self, message: bytes, sequence: int) -> None:
        task = self._loop.create_task(self._send(message, sequence))
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)

    async def _send(self, message: bytes, sequence: int) -> None:
        socket = self._socket
        try:
            if socket is None:
                raise OSError(self.down)
            async with asyncio.timeout(PING_LATE_S):
                await socket.send(message)
        except (OSError, WebSocketException) as error:
            if isinstance(error, TimeoutError) and socket is not None:
                socket.transport.abort()  # half a message went out: nothing can follow it
            answer = self._waiting.pop(sequence, None)
            if answer is not None:
                answer.set_exception(
                    InferenceFailed(f"{self._address.url}: the connection was lost: {error}")
                )

    def _hang_up(self, reason: str) -> None:
        """Tell all who wait that nothing will come."""
        self._socket, self.down = None, reason
        unanswered = [self._waiting.pop(key, None) for key in tuple(self._waiting)]
        self.trips.lose(sum(answer is not None for answer in unanswered))
        for answer in unanswered:
            if answer is not None:
                answer.set_exception(
                    InferenceFailed(f"{self._address.url}: the connection was lost: {reason}")
                )


async def _outcome(session: asyncio.Task[None]) -> tuple[bool, str]:
    """Return whether the server refuses, and why a connection ended, or was never made."""
    try:
        await session
    except asyncio.CancelledError:
        return False, "closed"
    except Refused as error:
        return True, f"the server refuses: {error}"
    except MalformedMessage as error:
        return True, f"the server speaks another protocol: {error.reason}"
    except TimeoutError:
        return False, f"the server did not greet within {OPEN_S:.0f} s"
    except (OSError, WebSocketException) as error:
        return False, str(error) or type(error).__name__
    except Exception as error:  # noqa: BLE001 whatever it was, the next attempt may work
        _log.exception("the connection ended by an error that is not expected")
        return False, repr(error)
    return False, "the server closed the connection"
