"""The websocket that robots connect to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from vla_ros.engine.engine import EngineDescription
from vla_ros.engine.remote.messages import (
    MAX_BYTES,
    VERSION,
    MalformedMessage,
    pack,
    pack_description,
    unpack,
)
from vla_ros.serving.batcher import Batcher, TooLate
from vla_ros.serving.served_graphs import refusal

#: A robot that has not said what it wants after this time is disconnected [s].
GREETING_S = 5.0
#: Questions of one robot that may be on their way; the next ones are refused.
MOST_PENDING = 4

#: Returns what is served, by the SHA-256 of the graph.
Describe = Callable[[], Awaitable[Mapping[str, EngineDescription]]]

_log = logging.getLogger(__name__)


class Gateway:
    """Takes robots' questions, and gives them to a batcher.

    A question is not looked into here: it goes on as it came, and the answer goes back as it came.
    """

    def __init__(self, batcher: Batcher, describe: Describe) -> None:
        """Prepare to listen.

        Args:
            batcher: Answers questions.
            describe: Says what is served; asked once per robot that connects.
        """
        self._batcher = batcher
        self._describe = describe
        self._server: Server | None = None
        self.robots = 0

    async def open(self, host: str, port: int) -> int:
        """Listen, and return the port: that of the system's choice if it was 0.

        Several gateways of one machine may share a port; the system deals robots out to them.

        Raises:
            OSError: if the address cannot be had.
        """
        self._server = await serve(
            self._attend,
            host,
            port,
            reuse_port=port != 0,
            compression=None,
            max_size=MAX_BYTES,
            max_queue=MOST_PENDING,
            ping_interval=10.0,
            ping_timeout=20.0,
            close_timeout=1.0,
        )
        return int(next(iter(self._server.sockets)).getsockname()[1])

    @property
    def listening(self) -> bool:
        """Whether robots can connect."""
        return self._server is not None and self._server.is_serving()

    async def close(self) -> None:
        """Disconnect the robots."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _attend(self, socket: ServerConnection) -> None:
        """Serve one robot until it goes."""
        self.robots += 1
        pending: set[asyncio.Task[None]] = set()
        try:
            sha256, deadline_s = await self._greet(socket)
            async for message in socket:
                if isinstance(message, str):
                    raise MalformedMessage("expected bytes, got text")
                if len(pending) >= MOST_PENDING:
                    await socket.send(refusal(message, sha256, "too many questions at once"))
                    continue
                task = asyncio.create_task(self._answer(socket, sha256, message, deadline_s))
                pending.add(task)
                task.add_done_callback(pending.discard)
        except MalformedMessage as error:
            await socket.close(1008, error.reason.encode()[:100].decode(errors="ignore"))
        except TimeoutError:
            await socket.close(1008, "no greeting")
        except ConnectionClosed:
            pass
        finally:
            self.robots -= 1
            for task in pending:
                task.cancel()  # nobody waits for these any more: no batch is made of them

    async def _greet(self, socket: ServerConnection) -> tuple[str, float]:
        """Return which graph a robot wants, and how long it waits for an answer [s].

        Raises:
            MalformedMessage: if it asks for what is not served, or speaks another protocol.
        """
        async with asyncio.timeout(GREETING_S):
            message = await socket.recv()
        if isinstance(message, str):
            raise MalformedMessage("expected bytes, got text")
        hello = unpack(message)
        reason, description = await self._judge(hello)
        if description is None:
            await socket.send(pack(0, {"refused": reason}))
            raise MalformedMessage(reason)
        greeting = {"hello": VERSION, "description": pack_description(description)}
        await socket.send(pack(0, greeting))
        return description.sha256, 1e-3 * float(hello["deadline_ms"])

    async def _judge(self, hello: Mapping[str, Any]) -> tuple[str, EngineDescription | None]:
        """Return why a greeting is refused, or the graph that it asks for."""
        if hello.get("hello") != VERSION:
            return f"the protocol is {VERSION}, not {hello.get('hello')!r:.40}", None
        deadline_ms = hello.get("deadline_ms")
        if not isinstance(deadline_ms, int | float) or not 0 < deadline_ms < 1e6:
            return "deadline_ms: expected a duration", None
        try:
            served = await self._describe()
        except Exception as error:  # noqa: BLE001 whatever it was, the robot is told and asks again
            _log.warning("cannot tell what is served: %s", error)
            return f"the server cannot tell what it serves: {type(error).__name__}", None
        description = served.get(str(hello.get("graph")))
        if description is None:
            there = ", ".join(f"{each.graph} {sha[:12]}…" for sha, each in served.items())
            return (
                f"{hello.get('name')!s:.80} {hello.get('graph')!s:.12}… is not served, only "
                f"{there}; give robot and server the same bundle"
            ), None
        return "", description

    async def _answer(
        self, socket: ServerConnection, sha256: str, message: bytes, deadline_s: float
    ) -> None:
        try:
            answer = await self._batcher.ask(sha256, message, deadline_s)
        except TooLate:
            answer = refusal(message, sha256, "the server is overloaded: its turn came too late")
        except Exception as error:  # noqa: BLE001 whatever it was, the robot is told
            _log.warning("a batch failed: %s", error)
            answer = refusal(message, sha256, f"the server failed: {type(error).__name__}")
        try:
            await socket.send(answer)
        except ConnectionClosed:
            return
