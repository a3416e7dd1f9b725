"""The connection to a policy server that speaks openpi's protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, NoReturn

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from vla_ros.core.errors import InferenceFailed
from vla_ros.engine.openpi_messages import pack, unpack

#: The time until the next attempt to connect doubles from the first to the last of these [s].
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0


class OpenPiLink:
    """Asks a server, one question at a time, and connects again where it has to.

    An answer that did not come in time may come later, and would be taken for that of the next
    question: the connection is given up then, and a new one is made.
    """

    def __init__(
        self, address: str, deadline_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Keep what is needed to connect; nothing is sent yet.

        Args:
            address: `ws://host:port` or `wss://host:port`.
            deadline_s: Longest time for an answer, and for a connection, in [s].
            clock: Gives a time in [s] that never goes back.
        """
        self._address, self._deadline_s, self._clock = address, deadline_s, clock
        self._connection: ClientConnection | None = None
        self._wait_s, self._next_s, self._reason = 0.0, 0.0, ""
        #: What the server said of itself when the connection was made.
        self.metadata: Mapping[Any, Any] = {}
        #: Connections that were made.
        self.connections = 0

    def ask(self, question: Mapping[str, Any]) -> Mapping[Any, Any]:
        """Return the server's answer.

        Raises:
            InferenceFailed: if it is late, absent, an error of the server or malformed, or if
                there is no connection and the next attempt is not due; says which.
        """
        connection = self._connection or self.connect()
        began = self._clock()
        try:
            connection.send(pack(question))
            message = connection.recv(timeout=self._deadline_s)
        except TimeoutError:
            self._give_up(f"no answer within {self._deadline_s:g} s")
        except (WebSocketException, OSError) as error:
            self._give_up(f"the connection broke after {self._clock() - began:.2f} s: {error}")
        if isinstance(message, str):  # the protocol's way to say that the server failed
            self._give_up(f"the server failed: {_last_line(message)}")
        try:
            answer = unpack(message)
        except ValueError as error:
            self._give_up(f"a malformed answer of {len(message)} bytes: {error}")
        if not isinstance(answer, Mapping):
            self._give_up(f"a malformed answer: expected a map, got {type(answer).__name__}")
        return answer

    def connect(self) -> ClientConnection:
        """Return a new connection, if an attempt is due.

        Raises:
            InferenceFailed: if none is, or it fails; says why.
        """
        wait_s = self._next_s - self._clock()
        if wait_s > 0.0:
            raise InferenceFailed(
                f"{self._address}: {self._reason}; connecting again in {wait_s:.1f} s"
            )
        try:
            # the stack is left to itself: the connection outlives this function
            connection = ExitStack().enter_context(
                connect(
                    self._address,
                    compression=None,
                    max_size=None,
                    open_timeout=self._deadline_s,
                    close_timeout=self._deadline_s,
                )
            )
            metadata = unpack(_bytes(connection.recv(timeout=self._deadline_s)))
        except (WebSocketException, OSError, ValueError) as error:
            self._give_up(f"no connection: {error or type(error).__name__}")
        self._connection, self._wait_s = connection, 0.0
        self.metadata = metadata if isinstance(metadata, Mapping) else {}
        self.connections += 1
        return connection

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _give_up(self, reason: str) -> NoReturn:
        """Close, wait longer than before, and say why; always raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # not a close in good order, which would wait for a server that does not answer
            connection.socket.close()
        self._reason = reason
        self._next_s = self._clock() + self._wait_s
        self._wait_s = min(LONGEST_WAIT_S, max(FIRST_WAIT_S, 2 * self._wait_s))
        raise InferenceFailed(f"{self._address}: {reason}")


def _bytes(message: str | bytes) -> bytes:
    if isinstance(message, str):
        raise ValueError(f"expected bytes, the server says {message[:80]!r}")
    return message


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "without a word"
